// Takes a frame apart with nothing but the accessors of wire/, behind their checks, and gives the
// fields the names that the fixtures use. It visits every layer: quoted packets of ICMP errors and
// frames in VXLAN too.

import * as arp from '../wire/arp.ts'
import * as ethernet from '../wire/ethernet.ts'
import * as icmp from '../wire/icmp.ts'
import * as icmpv6 from '../wire/icmpv6.ts'
import * as ipv4 from '../wire/ipv4.ts'
import * as ipv6 from '../wire/ipv6.ts'
import * as tcp from '../wire/tcp.ts'
import { formatIpv4, formatIpv6, formatMac } from '../wire/text.ts'
import * as udp from '../wire/udp.ts'
import * as vxlan from '../wire/vxlan.ts'

export type Dissected = Record<string, (number | string)[]>

class Dissector {
  readonly fields: Dissected = {}
  readonly view: DataView

  constructor(view: DataView) {
    this.view = view
  }

  put(name: string, value: number | string): void {
    this.fields[name] ??= []
    this.fields[name].push(value)
  }

  putAll(values: Record<string, number | string>): void {
    for (const [name, value] of Object.entries(values)) this.put(name, value)
  }

  frame(at: number, end: number): void {
    const view = this.view
    if (!ethernet.checkEthernet(view, at, end)) return
    this.putAll({
      'eth.dst': formatMac(
        ethernet.ethernetTargetHi(view, at),
        ethernet.ethernetTargetLo(view, at),
      ),
      'eth.src': formatMac(
        ethernet.ethernetSourceHi(view, at),
        ethernet.ethernetSourceLo(view, at),
      ),
      'eth.type': ethernet.ethernetType(view, at),
    })
    const inner = at + ethernet.ETHERNET_HEADER_SIZE
    switch (ethernet.ethernetType(view, at)) {
      case ethernet.ETHERTYPE_ARP:
        this.arp(inner, end)
        return
      case ethernet.ETHERTYPE_IPV4:
        if (ipv4.checkIpv4(view, inner, end)) this.ipv4(inner, ipv4.ipv4End(view, inner))
        return
      case ethernet.ETHERTYPE_IPV6:
        if (ipv6.checkIpv6(view, inner, end)) this.ipv6(inner, ipv6.ipv6End(view, inner))
        return
    }
  }

  arp(at: number, end: number): void {
    const view = this.view
    if (!arp.checkArp(view, at, end)) return
    this.putAll({
      'arp.opcode': arp.arpOperation(view, at),
      'arp.src.proto_ipv4': formatIpv4(arp.arpSenderAddress(view, at)),
      'arp.dst.proto_ipv4': formatIpv4(arp.arpTargetAddress(view, at)),
      'arp.src.hw_mac': formatMac(arp.arpSenderMacHi(view, at), arp.arpSenderMacLo(view, at)),
    })
  }

  /** An IPv4 packet of which [at, end) is there: a quoted one may be cut short. */
  ipv4(at: number, end: number): void {
    const view = this.view
    this.putAll({
      'ip.src': formatIpv4(ipv4.ipv4Source(view, at)),
      'ip.dst': formatIpv4(ipv4.ipv4Target(view, at)),
      'ip.ttl': ipv4.ipv4Ttl(view, at),
      'ip.proto': ipv4.ipv4Protocol(view, at),
      'ip.len': ipv4.ipv4TotalLength(view, at),
      'ip.id': ipv4.ipv4Identification(view, at),
      'ip.flags.df': Number(ipv4.ipv4DontFragment(view, at)),
      'ip.flags.mf': Number(ipv4.ipv4MoreFragments(view, at)),
      'ip.frag_offset': ipv4.ipv4FragmentOffset(view, at) / 8,
      'ip.hdr_len': ipv4.ipv4HeaderSize(view, at),
      'ip.dsfield': ipv4.ipv4Tos(view, at),
      'ip.checksum': ipv4.ipv4Checksum(view, at),
    })
    if (ipv4.ipv4FragmentOffset(view, at) > 0) return
    this.upper(ipv4.ipv4Protocol(view, at), ipv4.ipv4Payload(view, at), end)
  }

  /** An IPv6 packet of which [at, end) is there: a quoted one may be cut short. */
  ipv6(at: number, end: number): void {
    const view = this.view
    this.putAll({
      'ipv6.src': formatIpv6(view, ipv6.ipv6SourceAt(at)),
      'ipv6.dst': formatIpv6(view, ipv6.ipv6TargetAt(at)),
      'ipv6.plen': ipv6.ipv6PayloadLength(view, at),
      'ipv6.nxt': ipv6.ipv6NextHeader(view, at),
      'ipv6.hlim': ipv6.ipv6HopLimit(view, at),
      'ipv6.tclass': ipv6.ipv6TrafficClass(view, at),
      'ipv6.flow': ipv6.ipv6FlowLabel(view, at),
    })
    // The walk needs the whole packet; a quoted one that is cut has no extension headers in the
    // fixtures.
    if (ipv6.ipv6End(view, at) > end) {
      this.upper(ipv6.ipv6NextHeader(view, at), at + ipv6.IPV6_HEADER_SIZE, end)
      return
    }
    const walk = ipv6.walkIpv6(view, at)
    if (walk === ipv6.IPV6_WALK_FAILED) return
    const fragment = ipv6.walkFragment(at, walk)
    if (fragment >= 0) {
      this.putAll({
        'ipv6.fraghdr.offset': ipv6.ipv6FragmentOffset(view, fragment) / 8,
        'ipv6.fraghdr.more': Number(ipv6.ipv6MoreFragments(view, fragment)),
        'ipv6.fraghdr.ident': ipv6.ipv6FragmentIdentification(view, fragment),
      })
      if (ipv6.ipv6FragmentOffset(view, fragment) > 0) return
    }
    this.upper(ipv6.walkProtocol(walk), ipv6.walkUpper(at, walk), end)
  }

  upper(protocol: number, at: number, end: number): void {
    switch (protocol) {
      case ipv4.PROTOCOL_UDP:
        this.udp(at, end)
        return
      case ipv4.PROTOCOL_TCP:
        this.tcp(at, end)
        return
      case ipv4.PROTOCOL_ICMP:
        this.icmp(at, end)
        return
      case ipv4.PROTOCOL_ICMPV6:
        this.icmpv6(at, end)
        return
    }
  }

  udp(at: number, end: number): void {
    const view = this.view
    // Only the header: the length may count bytes in other fragments or not quoted.
    if (end - at < udp.UDP_HEADER_SIZE) return
    this.putAll({
      'udp.srcport': udp.udpSourcePort(view, at),
      'udp.dstport': udp.udpTargetPort(view, at),
      'udp.length': udp.udpLength(view, at),
      'udp.checksum': udp.udpChecksum(view, at),
    })
    if (udp.udpTargetPort(view, at) !== vxlan.VXLAN_PORT) return
    const inner = at + udp.UDP_HEADER_SIZE
    if (!vxlan.checkVxlan(view, inner, end)) return
    this.put('vxlan.vni', vxlan.vxlanVni(view, inner))
    this.frame(inner + vxlan.VXLAN_HEADER_SIZE, end)
  }

  tcp(at: number, end: number): void {
    const view = this.view
    if (!tcp.checkTcp(view, at, end)) return
    this.putAll({
      'tcp.srcport': tcp.tcpSourcePort(view, at),
      'tcp.dstport': tcp.tcpTargetPort(view, at),
      'tcp.seq_raw': tcp.tcpSequence(view, at),
      'tcp.ack_raw': tcp.tcpAcknowledgement(view, at),
      'tcp.hdr_len': tcp.tcpHeaderSize(view, at),
      'tcp.flags': tcp.tcpFlags(view, at),
      'tcp.window_size_value': tcp.tcpWindow(view, at),
      'tcp.checksum': tcp.tcpChecksum(view, at),
    })
    const mssAt = tcp.tcpMssAt(view, at)
    if (mssAt >= 0) this.put('tcp.options.mss_val', view.getUint16(mssAt))
  }

  icmp(at: number, end: number): void {
    const view = this.view
    if (!icmp.checkIcmp(view, at, end)) return
    const type = icmp.icmpType(view, at)
    const code = icmp.icmpCode(view, at)
    this.putAll({ 'icmp.type': type, 'icmp.code': code })
    if (type === icmp.ICMP_ECHO_REQUEST || type === icmp.ICMP_ECHO_REPLY) {
      this.putAll({
        'icmp.ident': icmp.icmpIdentifier(view, at),
        'icmp.seq': icmp.icmpSequence(view, at),
      })
      return
    }
    if (type === icmp.ICMP_UNREACHABLE && code === icmp.ICMP_CODE_FRAGMENTATION_NEEDED)
      this.put('icmp.mtu', icmp.icmpMtu(view, at))
    if (icmp.isIcmpError(type) && icmp.checkIcmpEmbedded(view, at, end))
      this.ipv4(icmp.icmpEmbeddedAt(at), end)
  }

  icmpv6(at: number, end: number): void {
    const view = this.view
    if (!icmpv6.checkIcmpv6(view, at, end)) return
    const type = icmpv6.icmpv6Type(view, at)
    this.putAll({ 'icmpv6.type': type, 'icmpv6.code': icmpv6.icmpv6Code(view, at) })
    if (type === icmpv6.ICMPV6_ECHO_REQUEST || type === icmpv6.ICMPV6_ECHO_REPLY) {
      this.putAll({
        'icmpv6.echo.identifier': icmpv6.icmpv6Identifier(view, at),
        'icmpv6.echo.sequence_number': icmpv6.icmpv6Sequence(view, at),
      })
    }
    if (type === icmpv6.ICMPV6_PACKET_TOO_BIG) this.put('icmpv6.mtu', icmpv6.icmpv6Mtu(view, at))
    if (icmpv6.isIcmpv6Error(type) && icmpv6.checkIcmpv6Embedded(view, at, end))
      this.ipv6(icmpv6.icmpv6EmbeddedAt(at), end)
    if (icmpv6.checkNeighbour(view, at, end)) this.neighbour(at, end, type)
  }

  neighbour(at: number, end: number, type: number): void {
    const view = this.view
    const asks = type === icmpv6.ICMPV6_NEIGHBOUR_SOLICITATION
    const target = formatIpv6(view, icmpv6.neighbourTargetAt(at))
    this.put(asks ? 'icmpv6.nd.ns.target_address' : 'icmpv6.nd.na.target_address', target)
    const kind = asks ? icmpv6.ND_OPTION_SOURCE_LINK : icmpv6.ND_OPTION_TARGET_LINK
    const option = icmpv6.neighbourOption(view, at, end, kind)
    if (option < 0) return
    const mac = formatMac(
      icmpv6.linkOptionMacHi(view, option),
      icmpv6.linkOptionMacLo(view, option),
    )
    this.put('icmpv6.opt.linkaddr', mac)
  }
}

/** The fields of the frame [at, end) of `view`. */
export function dissect(view: DataView, at: number = 0, end: number = view.byteLength): Dissected {
  const dissector = new Dissector(view)
  dissector.frame(at, end)
  return dissector.fields
}
