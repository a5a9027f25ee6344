// Defaults of the tables: what a field means that the file leaves out.

import { CONNECTIONS_DEFAULT } from '../ipvs-emulator/limits.ts'
import type { BalancerSettings } from './tables.ts'

/** The port that IANA gave VXLAN (RFC 7348 section 8); sealed and plain datagrams share it. */
export const LISTEN_PORT_DEFAULT: number = 4789
/** Every address, both families. */
export const LISTEN_ADDRESS_DEFAULT: string = '::'
export const SCHEDULER_DEFAULT: string = 'rr'
export const WEIGHT_DEFAULT: number = 1
/** IPVS's own (ip_vs_proto_tcp.c, ip_vs_proto_udp.c, ipvs-sysctl.rst). */
export const BALANCER_DEFAULT: Required<BalancerSettings> = {
  flowsMax: CONNECTIONS_DEFAULT,
  tcpSeconds: 900,
  tcpFinSeconds: 120,
  udpSeconds: 300,
  connReuseMode: 1,
  expireNodestConn: false,
  expireQuiescentTemplate: false,
  sloppyTcp: false,
  dropEntry: 0,
  dropPacket: 0,
  secureTcp: 0,
  amDropRate: 10,
}
export const KEEPALIVE_SECONDS_DEFAULT: number = 0

// The default MTU of a network fits an underlay of 1500 bytes over IPv4. Outer IPv4 20, UDP 8, our
// envelope 16, VXLAN 8, inner Ethernet 14, tag 16: 82 bytes around the inner IP packet; without
// encryption (RFC 7348) 50. Over an IPv6 underlay the outer header is 20 bytes longer: path-MTU
// search finds that out and oversized packets are answered with ICMP, but a network whose nodes
// meet over IPv6 does better to name its MTU (1398, 1430).
const UNDERLAY_MTU = 1500
const OUTER_IPV4_AND_UDP = 20 + 8
const VXLAN_AND_ETHERNET = 8 + 14
const ENVELOPE_AND_TAG = 16 + 16

/** 1418. */
export const MTU_DEFAULT_ENCRYPTED: number =
  UNDERLAY_MTU - OUTER_IPV4_AND_UDP - VXLAN_AND_ETHERNET - ENVELOPE_AND_TAG
/** 1450, as every VXLAN driver has it. */
export const MTU_DEFAULT_PLAIN: number = UNDERLAY_MTU - OUTER_IPV4_AND_UDP - VXLAN_AND_ETHERNET
