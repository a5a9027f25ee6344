// One line about one frame, in the manner of tcpdump: for logs of dropped packets, traces and
// tests. It allocates freely and is never called per packet. Whatever the bytes are, it returns a
// line and reads nothing outside [at, end): a frame that does not parse says how far it went.

import * as arp from './arp.ts'
import {
  checkEthernet,
  ETHERNET_HEADER_SIZE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethernetSourceHi,
  ethernetSourceLo,
  ethernetTargetHi,
  ethernetTargetLo,
  ethernetType,
} from './ethernet.ts'
import * as icmp from './icmp.ts'
import * as icmpv6 from './icmpv6.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import * as tcp from './tcp.ts'
import { formatIpv4, formatIpv6, formatMac } from './text.ts'
import * as udp from './udp.ts'
import { checkVxlan, VXLAN_HEADER_SIZE, VXLAN_PORT, vxlanVni } from './vxlan.ts'

/** Frames within frames that are followed: a VXLAN packet inside a VXLAN packet is not. */
const DEPTH_MAX = 2

/** The Ethernet frame [at, end) in one line. */
export function printFrame(view: DataView, at: number, end: number): string {
  return frame(view, at, end, 1)
}

/** The IP packet [at, end) in one line: what a TUN device carries. */
export function printPacket(view: DataView, at: number, end: number): string {
  if (end - at < 1) return 'IP [empty]'
  return view.getUint8(at) >>> 4 === 6 ? packetV6(view, at, end, 1) : packetV4(view, at, end, 1)
}

function frame(view: DataView, at: number, end: number, depth: number): string {
  if (!checkEthernet(view, at, end)) return `[${end - at} bytes: no Ethernet header]`
  const source = formatMac(ethernetSourceHi(view, at), ethernetSourceLo(view, at))
  const target = formatMac(ethernetTargetHi(view, at), ethernetTargetLo(view, at))
  const inner = at + ETHERNET_HEADER_SIZE
  const type = ethernetType(view, at)
  let text = `type 0x${type.toString(16).padStart(4, '0')}, ${end - inner} bytes`
  if (type === ETHERTYPE_IPV4) text = packetV4(view, inner, end, depth)
  else if (type === ETHERTYPE_IPV6) text = packetV6(view, inner, end, depth)
  else if (type === ETHERTYPE_ARP) text = arpText(view, inner, end)
  return `${source} > ${target} ${text}`
}

function arpText(view: DataView, at: number, end: number): string {
  if (!arp.checkArp(view, at, end)) return 'ARP [malformed]'
  const sender = formatIpv4(arp.arpSenderAddress(view, at))
  const target = formatIpv4(arp.arpTargetAddress(view, at))
  const operation = arp.arpOperation(view, at)
  if (operation === arp.ARP_REQUEST) return `ARP who has ${target} tell ${sender}`
  const mac = formatMac(arp.arpSenderMacHi(view, at), arp.arpSenderMacLo(view, at))
  return operation === arp.ARP_REPLY ? `ARP ${sender} is at ${mac}` : `ARP operation ${operation}`
}

function packetV4(view: DataView, at: number, end: number, depth: number): string {
  if (!ipv4.checkIpv4(view, at, end)) return 'IP [malformed]'
  const source = formatIpv4(ipv4.ipv4Source(view, at))
  const target = formatIpv4(ipv4.ipv4Target(view, at))
  const ipEnd = ipv4.ipv4End(view, at)
  const payload = ipv4.ipv4Payload(view, at)
  const protocol = ipv4.ipv4Protocol(view, at)
  const offset = ipv4.ipv4FragmentOffset(view, at)
  const id = ipv4.ipv4Identification(view, at)
  const piece = ipv4.ipv4IsFragment(view, at)
    ? fragment(id, offset, ipEnd - payload, ipv4.ipv4MoreFragments(view, at))
    : ''
  if (offset > 0) return `IP ${source} > ${target}: protocol ${protocol}${piece}`
  return `IP ${upper(view, payload, ipEnd, protocol, source, target, depth)}${piece}`
}

function packetV6(view: DataView, at: number, end: number, depth: number): string {
  if (!ipv6.checkIpv6(view, at, end)) return 'IP6 [malformed]'
  const source = formatIpv6(view, ipv6.ipv6SourceAt(at))
  const target = formatIpv6(view, ipv6.ipv6TargetAt(at))
  const walk = ipv6.walkIpv6(view, at)
  if (walk === ipv6.IPV6_WALK_FAILED) return `IP6 ${source} > ${target}: [malformed extensions]`
  const protocol = ipv6.walkProtocol(walk)
  const payload = ipv6.walkUpper(at, walk)
  const ipEnd = ipv6.ipv6End(view, at)
  const header = ipv6.walkFragment(at, walk)
  let piece = ''
  if (header >= 0) {
    const offset = ipv6.ipv6FragmentOffset(view, header)
    const id = ipv6.ipv6FragmentIdentification(view, header)
    piece = fragment(id, offset, ipEnd - header - 8, ipv6.ipv6MoreFragments(view, header))
    if (offset > 0) return `IP6 ${source} > ${target}: protocol ${protocol}${piece}`
  }
  return `IP6 ${upper(view, payload, ipEnd, protocol, source, target, depth)}${piece}`
}

function fragment(id: number, offset: number, size: number, more: boolean): string {
  return ` (fragment ${id}: ${size} bytes at ${offset}${more ? '+' : ''})`
}

function upper(
  view: DataView,
  at: number,
  end: number,
  protocol: number,
  source: string,
  target: string,
  depth: number,
): string {
  const ends = `${source} > ${target}:`
  switch (protocol) {
    case ipv4.PROTOCOL_TCP:
      return tcpText(view, at, end, source, target)
    case ipv4.PROTOCOL_UDP:
      return udpText(view, at, end, source, target, depth)
    case ipv4.PROTOCOL_ICMP:
      return `${ends} ${icmpText(view, at, end)}`
    case ipv4.PROTOCOL_ICMPV6:
      return `${ends} ${icmpv6Text(view, at, end)}`
    default:
      return `${ends} protocol ${protocol}, ${end - at} bytes`
  }
}

const FLAG_LETTERS = 'FSRP.UEW'

function tcpText(view: DataView, at: number, end: number, source: string, target: string): string {
  if (!tcp.checkTcp(view, at, end)) return `${source} > ${target}: TCP [malformed]`
  const flags = tcp.tcpFlags(view, at)
  const letters = [...FLAG_LETTERS].filter((_, bit) => (flags & (1 << bit)) !== 0).join('')
  const ports = [tcp.tcpSourcePort(view, at), tcp.tcpTargetPort(view, at)]
  const ack = (flags & tcp.TCP_ACK) !== 0 ? `, ack ${tcp.tcpAcknowledgement(view, at)}` : ''
  const mssAt = tcp.tcpMssAt(view, at)
  const mss = mssAt < 0 ? '' : `, mss ${view.getUint16(mssAt)}`
  const size = end - at - tcp.tcpHeaderSize(view, at)
  return (
    `${source}.${ports[0]} > ${target}.${ports[1]}: TCP [${letters || 'none'}], ` +
    `seq ${tcp.tcpSequence(view, at)}${ack}, win ${tcp.tcpWindow(view, at)}${mss}, ${size} bytes`
  )
}

function udpText(
  view: DataView,
  at: number,
  end: number,
  source: string,
  target: string,
  depth: number,
): string {
  if (end - at < udp.UDP_HEADER_SIZE) return `${source} > ${target}: UDP [malformed]`
  const targetPort = udp.udpTargetPort(view, at)
  const ends = `${source}.${udp.udpSourcePort(view, at)} > ${target}.${targetPort}:`
  const inner = at + udp.UDP_HEADER_SIZE
  if (targetPort === VXLAN_PORT && depth < DEPTH_MAX && checkVxlan(view, inner, end)) {
    const text = frame(view, inner + VXLAN_HEADER_SIZE, end, depth + 1)
    return `${ends} VXLAN ${vxlanVni(view, inner)} | ${text}`
  }
  return `${ends} UDP, ${udp.udpLength(view, at) - udp.UDP_HEADER_SIZE} bytes`
}

function icmpText(view: DataView, at: number, end: number): string {
  if (!icmp.checkIcmp(view, at, end)) return 'ICMP [malformed]'
  const type = icmp.icmpType(view, at)
  const code = icmp.icmpCode(view, at)
  const echo = `id ${icmp.icmpIdentifier(view, at)}, seq ${icmp.icmpSequence(view, at)}`
  if (type === icmp.ICMP_ECHO_REQUEST) return `ICMP echo request, ${echo}`
  if (type === icmp.ICMP_ECHO_REPLY) return `ICMP echo reply, ${echo}`
  if (type === icmp.ICMP_TIME_EXCEEDED) return `ICMP time exceeded, code ${code}`
  if (type !== icmp.ICMP_UNREACHABLE) return `ICMP type ${type}, code ${code}`
  return code === icmp.ICMP_CODE_FRAGMENTATION_NEEDED
    ? `ICMP fragmentation needed, mtu ${icmp.icmpMtu(view, at)}`
    : `ICMP unreachable, code ${code}`
}

function icmpv6Text(view: DataView, at: number, end: number): string {
  if (!icmpv6.checkIcmpv6(view, at, end)) return 'ICMP6 [malformed]'
  const type = icmpv6.icmpv6Type(view, at)
  const code = icmpv6.icmpv6Code(view, at)
  const echo = `id ${icmpv6.icmpv6Identifier(view, at)}, seq ${icmpv6.icmpv6Sequence(view, at)}`
  switch (type) {
    case icmpv6.ICMPV6_ECHO_REQUEST:
      return `ICMP6 echo request, ${echo}`
    case icmpv6.ICMPV6_ECHO_REPLY:
      return `ICMP6 echo reply, ${echo}`
    case icmpv6.ICMPV6_UNREACHABLE:
      return `ICMP6 unreachable, code ${code}`
    case icmpv6.ICMPV6_PACKET_TOO_BIG:
      return `ICMP6 packet too big, mtu ${icmpv6.icmpv6Mtu(view, at)}`
    case icmpv6.ICMPV6_TIME_EXCEEDED:
      return `ICMP6 time exceeded, code ${code}`
    case icmpv6.ICMPV6_NEIGHBOUR_SOLICITATION:
    case icmpv6.ICMPV6_NEIGHBOUR_ADVERTISEMENT: {
      if (!icmpv6.checkNeighbour(view, at, end)) return 'ICMP6 neighbour [malformed]'
      const target = formatIpv6(view, icmpv6.neighbourTargetAt(at))
      return type === icmpv6.ICMPV6_NEIGHBOUR_SOLICITATION
        ? `ICMP6 who has ${target}`
        : `ICMP6 ${target} is here`
    }
    default:
      return `ICMP6 type ${type}, code ${code}`
  }
}
