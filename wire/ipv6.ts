// IPv6 header and its extension headers, RFC 8200.
//
//   0       1       2       3       4               6       7       8
//   |ver| traffic   | flow label    | payload length| next  | hops  |
//   8                                                               24
//   | source address                                                |
//   24                                                              40
//   | target address                                                |
//
// An address is sixteen bytes at an offset; copyIpv6Address() and equalIpv6Address() move and
// compare them, ipv6Word() reads 32 bits of one. Jumbograms (RFC 2675) fail checkIpv6().
//
// walkIpv6() follows the chain of extension headers to the upper-layer protocol and returns all it
// found in one integer, so that nothing is allocated:
//
//   bit 26              17               8               0
//       | fragment + 1   | upper          | protocol     |
//
// where `upper` and `fragment` are distances from byte 40 in units of eight bytes.

/** Size of the fixed header. */
export const IPV6_HEADER_SIZE = 40
export const IPV6_ADDRESS_SIZE = 16
export const IPV6_FRAGMENT_SIZE = 8

export const NEXT_HOP_BY_HOP = 0
export const NEXT_ROUTING = 43
export const NEXT_FRAGMENT = 44
export const NEXT_ESP = 50
export const NEXT_AUTHENTICATION = 51
export const NEXT_NONE = 59
export const NEXT_OPTIONS = 60
export const NEXT_MOBILITY = 135

/** Headers followed before a packet is given up as malformed: each kind once, options twice (RFC
 * 8200 section 4.1), and one in reserve. */
export const IPV6_EXTENSIONS_MAX = 8
/** Bytes of extension headers that are followed; RFC 7112 asks that a first fragment holds them
 * all. */
export const IPV6_EXTENSION_BYTES_MAX = 1024
/** What walkIpv6() returns for a chain it cannot follow. */
export const IPV6_WALK_FAILED = -1

const VERSION_CLASS_LABEL = 0
const PAYLOAD_LENGTH = 4
const NEXT_HEADER = 6
const HOP_LIMIT = 7
const SOURCE = 8
const TARGET = 24

const FRAGMENT_OFFSET = 2
const FRAGMENT_IDENTIFICATION = 4

/** True when [at, end) holds a whole IPv6 packet: version 6 and the payload length inside [at,
 * end). */
export function checkIpv6(view: DataView, at: number, end: number): boolean {
  return (
    end - at >= IPV6_HEADER_SIZE &&
    view.getUint8(at + VERSION_CLASS_LABEL) >>> 4 === 6 &&
    IPV6_HEADER_SIZE + view.getUint16(at + PAYLOAD_LENGTH) <= end - at
  )
}

export function ipv6TrafficClass(view: DataView, at: number): number {
  return (view.getUint16(at + VERSION_CLASS_LABEL) >>> 4) & 0xff
}

export function ipv6FlowLabel(view: DataView, at: number): number {
  return view.getUint32(at + VERSION_CLASS_LABEL) & 0xfffff
}

/** Bytes behind the fixed header, extension headers included. */
export function ipv6PayloadLength(view: DataView, at: number): number {
  return view.getUint16(at + PAYLOAD_LENGTH)
}

/** Offset just behind the packet. */
export function ipv6End(view: DataView, at: number): number {
  return at + IPV6_HEADER_SIZE + view.getUint16(at + PAYLOAD_LENGTH)
}

/** The first next-header field; the upper-layer protocol only when no extension header follows. */
export function ipv6NextHeader(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_HEADER)
}

export function ipv6HopLimit(view: DataView, at: number): number {
  return view.getUint8(at + HOP_LIMIT)
}

/** Offset of the source address of the packet at `at`. */
export function ipv6SourceAt(at: number): number {
  return at + SOURCE
}

/** Offset of the target address of the packet at `at`. */
export function ipv6TargetAt(at: number): number {
  return at + TARGET
}

/** 32-bit word `index` (0..3) of the address at offset `addressAt`. */
export function ipv6Word(view: DataView, addressAt: number, index: number): number {
  return view.getUint32(addressAt + index * 4)
}

export function setIpv6TrafficClass(view: DataView, at: number, value: number): void {
  const first = view.getUint16(at + VERSION_CLASS_LABEL)
  view.setUint16(at + VERSION_CLASS_LABEL, (first & 0xf00f) | (value << 4))
}

export function setIpv6FlowLabel(view: DataView, at: number, value: number): void {
  const first = view.getUint32(at + VERSION_CLASS_LABEL)
  view.setUint32(at + VERSION_CLASS_LABEL, (first & 0xfff00000) | value)
}

export function setIpv6PayloadLength(view: DataView, at: number, value: number): void {
  view.setUint16(at + PAYLOAD_LENGTH, value)
}

export function setIpv6NextHeader(view: DataView, at: number, value: number): void {
  view.setUint8(at + NEXT_HEADER, value)
}

export function setIpv6HopLimit(view: DataView, at: number, value: number): void {
  view.setUint8(at + HOP_LIMIT, value)
}

/** Copies the sixteen bytes at `from` to `to`; the ranges must not overlap. */
export function copyIpv6Address(
  fromView: DataView,
  from: number,
  toView: DataView,
  to: number,
): void {
  toView.setUint32(to, fromView.getUint32(from))
  toView.setUint32(to + 4, fromView.getUint32(from + 4))
  toView.setUint32(to + 8, fromView.getUint32(from + 8))
  toView.setUint32(to + 12, fromView.getUint32(from + 12))
}

/** True when the sixteen bytes at `a` and at `b` are the same. */
export function equalIpv6Address(aView: DataView, a: number, bView: DataView, b: number): boolean {
  return (
    aView.getInt32(a + 12) === bView.getInt32(b + 12) &&
    aView.getInt32(a + 8) === bView.getInt32(b + 8) &&
    aView.getInt32(a + 4) === bView.getInt32(b + 4) &&
    aView.getInt32(a) === bView.getInt32(b)
  )
}

/** True for ff00::/8. */
export function isIpv6Multicast(view: DataView, addressAt: number): boolean {
  return view.getUint8(addressAt) === 0xff
}

/** True for fe80::/10. */
export function isIpv6LinkLocal(view: DataView, addressAt: number): boolean {
  return (view.getUint16(addressAt) & 0xffc0) === 0xfe80
}

/** True for :: . */
export function isIpv6Unspecified(view: DataView, addressAt: number): boolean {
  return (
    (view.getInt32(addressAt) |
      view.getInt32(addressAt + 4) |
      view.getInt32(addressAt + 8) |
      view.getInt32(addressAt + 12)) ===
    0
  )
}

/** Writes a fixed header with traffic class and flow label 0; the addresses are the caller's to
 * copy. */
export function writeIpv6Header(
  view: DataView,
  at: number,
  payloadLength: number,
  nextHeader: number,
  hopLimit: number,
): void {
  view.setUint32(at + VERSION_CLASS_LABEL, 0x60000000)
  view.setUint16(at + PAYLOAD_LENGTH, payloadLength)
  view.setUint8(at + NEXT_HEADER, nextHeader)
  view.setUint8(at + HOP_LIMIT, hopLimit)
}

/** Follows the extension headers of the packet at `at`, for which checkIpv6() returned true.
 * Returns the packed result above, or IPV6_WALK_FAILED for a chain that is malformed, leaves the
 * packet, or exceeds IPV6_EXTENSIONS_MAX or IPV6_EXTENSION_BYTES_MAX. In a fragment other than
 * the first the walk ends at the fragment header: what follows is a piece of payload, and the
 * protocol is the one the header names. */
export function walkIpv6(view: DataView, at: number): number {
  const first = at + IPV6_HEADER_SIZE
  const end = first + view.getUint16(at + PAYLOAD_LENGTH)
  let next = view.getUint8(at + NEXT_HEADER)
  let header = first
  let fragment = 0
  for (let count = 0; count <= IPV6_EXTENSIONS_MAX; count++) {
    let size = 8
    let last = false
    switch (next) {
      case NEXT_HOP_BY_HOP:
        // Allowed only directly behind the fixed header (RFC 8200 section 4.1).
        if (count !== 0) return IPV6_WALK_FAILED
        break
      case NEXT_ROUTING:
      case NEXT_OPTIONS:
      case NEXT_MOBILITY:
      case NEXT_AUTHENTICATION:
        break
      case NEXT_FRAGMENT:
        if (fragment !== 0) return IPV6_WALK_FAILED
        break
      default:
        return (fragment << 17) | ((header - first) << 5) | next
    }
    if (end - header < 8) return IPV6_WALK_FAILED
    if (next === NEXT_FRAGMENT) {
      fragment = ((header - first) >>> 3) + 1
      last = (view.getUint16(header + FRAGMENT_OFFSET) & 0xfff8) !== 0
    } else if (next === NEXT_AUTHENTICATION) {
      // RFC 4302 section 2.2 counts in units of four, less two; in IPv6 the whole is a multiple of
      // eight.
      size = (view.getUint8(header + 1) + 2) * 4
      if ((size & 7) !== 0) return IPV6_WALK_FAILED
    } else {
      size = (view.getUint8(header + 1) + 1) * 8
    }
    next = view.getUint8(header)
    header += size
    if (header > end || header - first > IPV6_EXTENSION_BYTES_MAX) return IPV6_WALK_FAILED
    if (last) return (fragment << 17) | ((header - first) << 5) | next
  }
  return IPV6_WALK_FAILED
}

/** Upper-layer protocol of a walk's result. */
export function walkProtocol(walk: number): number {
  return walk & 0xff
}

/** Offset of the upper-layer header of the packet at `at`, by a walk's result. It may equal the
 * packet's end: the upper layer's own check decides whether a header is there. */
export function walkUpper(at: number, walk: number): number {
  return at + IPV6_HEADER_SIZE + ((walk >>> 8) & 0x1ff) * 8
}

/** Offset of the fragment header of the packet at `at`, by a walk's result; -1 when it has none. */
export function walkFragment(at: number, walk: number): number {
  const fragment = walk >>> 17
  return fragment === 0 ? -1 : at + IPV6_HEADER_SIZE + (fragment - 1) * 8
}

// The fragment header, at `header`:
//
//   0       1       2               4                               8
//   | next  | 0     | offset    |0|M| identification                |

/** Where this fragment's payload lies within the whole, in bytes. */
export function ipv6FragmentOffset(view: DataView, header: number): number {
  return view.getUint16(header + FRAGMENT_OFFSET) & 0xfff8
}

/** True when more fragments follow this one. */
export function ipv6MoreFragments(view: DataView, header: number): boolean {
  return (view.getUint16(header + FRAGMENT_OFFSET) & 1) !== 0
}

export function ipv6FragmentIdentification(view: DataView, header: number): number {
  return view.getUint32(header + FRAGMENT_IDENTIFICATION)
}

/** Writes a fragment header; `offset` is in bytes, a multiple of eight. */
export function writeIpv6Fragment(
  view: DataView,
  header: number,
  nextHeader: number,
  offset: number,
  moreFragments: boolean,
  identification: number,
): void {
  view.setUint16(header, nextHeader << 8)
  view.setUint16(header + FRAGMENT_OFFSET, offset | (moreFragments ? 1 : 0))
  view.setUint32(header + FRAGMENT_IDENTIFICATION, identification)
}
