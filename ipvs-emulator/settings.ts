// The switches that IPVS keeps under /proc/sys/net/ipv4/vs, by the same names (ipvs-sysctl.rst).
// Those that steer what weft does not have (sync daemon, conntrack, direct routing) are absent.

export interface Settings {
  /** 0: a SYN on an ending connection goes to its old real server. 1: it is scheduled afresh. */
  connReuseMode: number
  /** A SYN on a connection whose real server has weight 0 is scheduled afresh. */
  expireNodestConn: boolean
  /** A persistence template whose real server has weight 0 is no longer followed. */
  expireQuiescentTemplate: boolean
  /** A TCP connection may begin with a segment other than SYN. */
  sloppyTcp: boolean
  /** The same for SCTP and INIT. */
  sloppySctp: boolean
  /** Defences: 0 off, 1 when memory is short, 2 on at present, 3 always. */
  dropEntry: number
  dropPacket: number
  secureTcp: number
  /** dropPacket 3: every how many-th new connection is dropped. */
  amDropRate: number
}

export function defaultSettings(): Settings {
  return {
    connReuseMode: 1,
    expireNodestConn: false,
    expireQuiescentTemplate: false,
    sloppyTcp: false,
    sloppySctp: false,
    dropEntry: 0,
    dropPacket: 0,
    secureTcp: 0,
    amDropRate: 10,
  }
}
