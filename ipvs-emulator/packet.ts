// Questions that several stages ask of a packet in either IP version: is it a fragment, which one.

import { ipv6FragmentOffset, walkFragment, walkIpv6 } from '../wire/ipv6.ts'

const IPV4_FRAGMENT = 6
const IPV4_OFFSET = 0x1fff
const IPV6_HEADER_SIZE = 40

export function isIpv4(view: DataView, ipAt: number): boolean {
  return view.getUint8(ipAt) >> 4 === 4
}

/** Offset of the fragment header of the IPv6 packet at `ipAt` whose L4 header is at `l4At`; -1
 * without one. */
export function fragmentHeader(view: DataView, ipAt: number, l4At: number): number {
  if (l4At - ipAt === IPV6_HEADER_SIZE) return -1
  const walk = walkIpv6(view, ipAt)
  return walk < 0 ? -1 : walkFragment(ipAt, walk)
}

/** True for a fragment other than the first: no L4 header at `l4At`. */
export function isLaterFragment(view: DataView, ipAt: number, l4At: number): boolean {
  if (isIpv4(view, ipAt)) return (view.getUint16(ipAt + IPV4_FRAGMENT) & IPV4_OFFSET) !== 0
  const header = fragmentHeader(view, ipAt, l4At)
  return header >= 0 && ipv6FragmentOffset(view, header) !== 0
}
