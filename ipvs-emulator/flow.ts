// A flow being made: the scratch record through which a packet's addresses reach schedulers,
// persistence and the connection table. There is one per director, filled anew for each first
// packet; established flows never pass here. Addresses are four 32-bit words in network order; IPv4
// uses word 0, the others stay 0.

export const IPV4 = 0
export const IPV6 = 1

/** Direction of a packet within its flow: from the client, or from the real server. */
export const FORWARD = 0
export const REPLY = 1

export const ICMP = 1
export const TCP = 6
export const UDP = 17
export const ICMPV6 = 58
export const SCTP = 132

export interface Flow {
  /** IPV4 or IPV6. */
  family: number
  zone: number
  replyZone: number
  protocol: number
  /** As the client sends it. */
  readonly source: Int32Array
  readonly target: Int32Array
  sourcePort: number
  targetPort: number
  /** As the real server receives it. */
  readonly newSource: Int32Array
  readonly newTarget: Int32Array
  newSourcePort: number
  newTargetPort: number
}

export function makeFlow(): Flow {
  return {
    family: IPV4,
    zone: 0,
    replyZone: 0,
    protocol: 0,
    source: new Int32Array(4),
    target: new Int32Array(4),
    sourcePort: 0,
    targetPort: 0,
    newSource: new Int32Array(4),
    newTarget: new Int32Array(4),
    newSourcePort: 0,
    newTargetPort: 0,
  }
}

/** Fills the client's half of `flow` from a packet whose first four L4 bytes are ports, and makes
 * the translated half equal to it. */
export function readFlow(
  flow: Flow,
  zone: number,
  view: DataView,
  ipAt: number,
  l4At: number,
  protocol: number,
): void {
  flow.zone = zone
  flow.replyZone = zone
  flow.protocol = protocol
  flow.family = view.getUint8(ipAt) >> 4 === 6 ? IPV6 : IPV4
  if (flow.family === IPV4) {
    setAddress4(flow.source, view.getInt32(ipAt + 12))
    setAddress4(flow.target, view.getInt32(ipAt + 16))
  } else {
    for (let i = 0; i < 4; i++) {
      flow.source[i] = view.getInt32(ipAt + 8 + 4 * i)
      flow.target[i] = view.getInt32(ipAt + 24 + 4 * i)
    }
  }
  flow.sourcePort = view.getUint16(l4At)
  flow.targetPort = view.getUint16(l4At + 2)
  copyAddress(flow.newSource, flow.source)
  copyAddress(flow.newTarget, flow.target)
  flow.newSourcePort = flow.sourcePort
  flow.newTargetPort = flow.targetPort
}

export function setAddress4(address: Int32Array, word: number): void {
  address[0] = word
  address[1] = 0
  address[2] = 0
  address[3] = 0
}

export function copyAddress(to: Int32Array, from: Int32Array): void {
  to[0] = from[0]!
  to[1] = from[1]!
  to[2] = from[2]!
  to[3] = from[3]!
}

export function sameAddress(a: Int32Array, b: Int32Array): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3]
}
