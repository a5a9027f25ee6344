// Goal: the accessors agree with a kernel and with another dissector. Method: every captured packet
// is taken apart (all fields equal the dissector's), its checksums are computed anew by both twins,
// and its headers are written again from their fields onto zeroed memory.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { dissect } from '../test/dissect.ts'
import { loadFixtures } from '../test/fixtures.ts'
import { toHex, viewOf } from '../test/hex.ts'
import * as sums from './checksum.ts'
import * as ethernet from './ethernet.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'
import { printFrame } from './print.ts'
import * as tcp from './tcp.ts'
import { writeTcpResetReplyV4, writeTcpResetReplyV6 } from './tcp-reset.ts'
import * as udp from './udp.ts'

/** Where the wire says that a router or host soliciting carries its MAC; wire/ has no accessor
 * for it. */
const NOT_OURS: Readonly<Record<string, string>> = {
  'A host looks for routers.': 'icmpv6.opt.linkaddr',
}

t.test('every field equals what another dissector read', async (t) => {
  for (const { file, sentence, bytes, fields } of loadFixtures()) {
    const expected = { ...fields }
    const ignored = NOT_OURS[sentence]
    if (ignored !== undefined) delete expected[ignored]
    t.strictSame(dissect(viewOf(bytes)), expected, `${file}: ${sentence}`)
  }
})

/** Offset and length of the checksummed part of an upper layer, and where its field lies. */
const FIELD_OF: Readonly<Record<number, number>> = {
  [ipv4.PROTOCOL_ICMP]: 2,
  [ipv4.PROTOCOL_TCP]: tcp.TCP_CHECKSUM_OFFSET,
  [ipv4.PROTOCOL_UDP]: udp.UDP_CHECKSUM_OFFSET,
  [ipv4.PROTOCOL_ICMPV6]: 2,
}

interface Upper {
  readonly protocol: number
  readonly at: number
  readonly end: number
  readonly pseudo: number
}

/** The upper layer of a whole (not fragmented) IP packet in the frame, or null. */
function upperOf(view: DataView): Upper | null {
  const ip = ethernet.ETHERNET_HEADER_SIZE
  if (ipv4.checkIpv4(view, ip, view.byteLength)) {
    if (ipv4.ipv4IsFragment(view, ip)) return null
    const protocol = ipv4.ipv4Protocol(view, ip)
    const at = ipv4.ipv4Payload(view, ip)
    const end = ipv4.ipv4End(view, ip)
    const bare = protocol === ipv4.PROTOCOL_ICMP
    const pseudo = bare ? 0 : sums.pseudoSumV4(view, ip, protocol, end - at)
    return { protocol, at, end, pseudo }
  }
  if (!ipv6.checkIpv6(view, ip, view.byteLength)) return null
  const walk = ipv6.walkIpv6(view, ip)
  if (ipv6.walkFragment(ip, walk) >= 0) return null
  const protocol = ipv6.walkProtocol(walk)
  const at = ipv6.walkUpper(ip, walk)
  const end = ipv6.ipv6End(view, ip)
  return { protocol, at, end, pseudo: sums.pseudoSumV6(view, ip, protocol, end - at) }
}

t.test('every checksum is right by both twins', async (t) => {
  let headers = 0
  let uppers = 0
  for (const { sentence, bytes } of loadFixtures()) {
    const view = viewOf(bytes)
    const ip = ethernet.ETHERNET_HEADER_SIZE
    if (ipv4.checkIpv4(view, ip, view.byteLength)) {
      t.ok(ipv4.ipv4HeaderHolds(view, ip), sentence)
      const before = ipv4.ipv4Checksum(view, ip)
      ipv4.fillIpv4Checksum(view, ip)
      t.equal(ipv4.ipv4Checksum(view, ip), before, sentence)
      headers++
    }
    const upper = upperOf(view)
    if (upper === null) continue
    const field = upper.at + FIELD_OF[upper.protocol]!
    const captured = view.getUint16(field)
    // Sent without checksum: on purpose, and by the kernel's VXLAN.
    if (captured === 0 && upper.protocol === ipv4.PROTOCOL_UDP) continue
    t.ok(sums.checksumHolds(view, upper.at, upper.end, upper.pseudo), sentence)
    view.setUint16(field, 0)
    t.equal(sums.checksum(view, upper.at, upper.end, upper.pseudo), captured, sentence)
    t.equal(sums.checksumPlain(view, upper.at, upper.end, upper.pseudo), captured, sentence)
    view.setUint16(field, upper.pseudo)
    sums.finishChecksum(view, upper.at, upper.end, field)
    if (upper.protocol !== ipv4.PROTOCOL_ICMP) t.equal(view.getUint16(field), captured, sentence)
    uppers++
  }
  t.ok(headers > 30, `${headers} IPv4 headers`)
  t.ok(uppers > 35, `${uppers} upper layers`)
})

/** Writes Ethernet, IP and TCP or UDP headers of `from` anew into `to`; returns the first byte
 * behind. */
function rewrite(from: DataView, to: DataView): number {
  const hi = ethernet.ethernetTargetHi(from, 0)
  ethernet.setEthernetTarget(to, 0, hi, ethernet.ethernetTargetLo(from, 0))
  const sourceHi = ethernet.ethernetSourceHi(from, 0)
  ethernet.setEthernetSource(to, 0, sourceHi, ethernet.ethernetSourceLo(from, 0))
  ethernet.setEthernetType(to, 0, ethernet.ethernetType(from, 0))
  const ip = ethernet.ETHERNET_HEADER_SIZE
  if (ethernet.ethernetType(from, 0) === ethernet.ETHERTYPE_IPV4) return rewriteV4(from, to, ip)
  if (ethernet.ethernetType(from, 0) === ethernet.ETHERTYPE_IPV6) return rewriteV6(from, to, ip)
  return ip
}

function rewriteV4(from: DataView, to: DataView, ip: number): number {
  ipv4.writeIpv4Header(
    to,
    ip,
    ipv4.ipv4TotalLength(from, ip),
    ipv4.ipv4Protocol(from, ip),
    ipv4.ipv4Ttl(from, ip),
    ipv4.ipv4Source(from, ip),
    ipv4.ipv4Target(from, ip),
  )
  ipv4.setIpv4Tos(to, ip, ipv4.ipv4Tos(from, ip))
  ipv4.setIpv4Identification(to, ip, ipv4.ipv4Identification(from, ip))
  const more = ipv4.ipv4MoreFragments(from, ip)
  const dont = ipv4.ipv4DontFragment(from, ip)
  ipv4.setIpv4Fragment(to, ip, ipv4.ipv4FragmentOffset(from, ip), dont, more)
  // Options have no setter: such a header keeps its first byte and its options.
  if (ipv4.ipv4HeaderSize(from, ip) !== ipv4.IPV4_HEADER_SIZE) {
    to.setUint8(ip, from.getUint8(ip))
    copy(from, to, ip + ipv4.IPV4_HEADER_SIZE, ipv4.ipv4Payload(from, ip))
  }
  ipv4.fillIpv4Checksum(to, ip)
  const at = ipv4.ipv4Payload(from, ip)
  if (ipv4.ipv4FragmentOffset(from, ip) > 0) return at
  return rewriteUpper(from, to, ipv4.ipv4Protocol(from, ip), at)
}

function rewriteV6(from: DataView, to: DataView, ip: number): number {
  const payloadLength = ipv6.ipv6PayloadLength(from, ip)
  const hops = ipv6.ipv6HopLimit(from, ip)
  ipv6.writeIpv6Header(to, ip, payloadLength, ipv6.ipv6NextHeader(from, ip), hops)
  ipv6.setIpv6TrafficClass(to, ip, ipv6.ipv6TrafficClass(from, ip))
  ipv6.setIpv6FlowLabel(to, ip, ipv6.ipv6FlowLabel(from, ip))
  ipv6.copyIpv6Address(from, ipv6.ipv6SourceAt(ip), to, ipv6.ipv6SourceAt(ip))
  ipv6.copyIpv6Address(from, ipv6.ipv6TargetAt(ip), to, ipv6.ipv6TargetAt(ip))
  const walk = ipv6.walkIpv6(from, ip)
  const upper = ipv6.walkUpper(ip, walk)
  const header = ipv6.walkFragment(ip, walk)
  if (header < 0) {
    copy(from, to, ip + ipv6.IPV6_HEADER_SIZE, upper)
    return rewriteUpper(from, to, ipv6.walkProtocol(walk), upper)
  }
  const offset = ipv6.ipv6FragmentOffset(from, header)
  const more = ipv6.ipv6MoreFragments(from, header)
  const id = ipv6.ipv6FragmentIdentification(from, header)
  ipv6.writeIpv6Fragment(to, header, ipv6.walkProtocol(walk), offset, more, id)
  return upper
}

function rewriteUpper(from: DataView, to: DataView, protocol: number, at: number): number {
  if (protocol === ipv4.PROTOCOL_UDP) {
    udp.setUdpSourcePort(to, at, udp.udpSourcePort(from, at))
    udp.setUdpTargetPort(to, at, udp.udpTargetPort(from, at))
    udp.setUdpLength(to, at, udp.udpLength(from, at))
    udp.setUdpChecksum(to, at, udp.udpChecksum(from, at))
    return at + udp.UDP_HEADER_SIZE
  }
  if (protocol !== ipv4.PROTOCOL_TCP) return at
  tcp.setTcpSourcePort(to, at, tcp.tcpSourcePort(from, at))
  tcp.setTcpTargetPort(to, at, tcp.tcpTargetPort(from, at))
  tcp.setTcpSequence(to, at, tcp.tcpSequence(from, at))
  tcp.setTcpAcknowledgement(to, at, tcp.tcpAcknowledgement(from, at))
  tcp.setTcpHeaderSize(to, at, tcp.tcpHeaderSize(from, at))
  tcp.setTcpFlags(to, at, tcp.tcpFlags(from, at))
  tcp.setTcpWindow(to, at, tcp.tcpWindow(from, at))
  tcp.setTcpChecksum(to, at, tcp.tcpChecksum(from, at))
  tcp.setTcpUrgent(to, at, tcp.tcpUrgent(from, at))
  return at + tcp.TCP_HEADER_SIZE
}

function copy(from: DataView, to: DataView, at: number, end: number): void {
  for (let i = at; i < end; i++) to.setUint8(i, from.getUint8(i))
}

t.test('headers written from their fields are the headers that were captured', async (t) => {
  for (const { sentence, bytes } of loadFixtures()) {
    const from = viewOf(bytes)
    const to = viewOf(new Uint8Array(bytes.length))
    const rest = rewrite(from, to)
    t.ok(rest > 14 || from.getUint16(12) === ethernet.ETHERTYPE_ARP, sentence)
    t.equal(toHex(to, 0, rest), toHex(from, 0, rest), sentence)
  }
})

t.test('our answer to a SYN for a closed port is the reset that the kernel sent', async (t) => {
  const all = loadFixtures().filter(({ file }) => file === 'tcp.json')
  const find = (sentence: string): number => all.findIndex((f) => f.sentence === sentence)
  const ip = ethernet.ETHERNET_HEADER_SIZE

  const v4 = find('A SYN to a closed port.')
  const view = viewOf(new Uint8Array(200))
  copy(viewOf(all[v4]!.bytes), view, 0, all[v4]!.bytes.length)
  t.equal(writeTcpResetReplyV4(view, ip, 100), 40)
  ipv4.decrementIpv4Ttl(view, 100) // It was captured behind a router.
  t.equal(toHex(view, 100, 140), toHex(viewOf(all[v4 + 1]!.bytes), ip))

  const v6 = find('A SYN to a closed port over IPv6.')
  copy(viewOf(all[v6]!.bytes), view, 0, all[v6]!.bytes.length)
  t.equal(writeTcpResetReplyV6(view, ip, ip + 40, 100), 60)
  const kernel = viewOf(all[v6 + 1]!.bytes)
  ipv6.setIpv6HopLimit(view, 100, 63)
  ipv6.setIpv6FlowLabel(view, 100, ipv6.ipv6FlowLabel(kernel, ip)) // Ours is 0, Linux hashes one.
  t.equal(toHex(view, 100, 160), toHex(kernel, ip))
})

t.test('one line per packet, for people', async (t) => {
  const lines = loadFixtures().map(({ bytes }) => printFrame(viewOf(bytes), 0, bytes.length))
  const expected = readFileSync(new URL('../test/fixtures/lines.txt', import.meta.url), 'utf8')
  t.equal(`${lines.join('\n')}\n`, expected)
})
