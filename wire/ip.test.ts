// Goal: the IPv4 and IPv6 accessors agree with literal bytes, the checks refuse what the accessors
// could not bear, and the extension header walk ends where RFC 8200 says.

import t from 'tap'
import { guardedView } from '../test/guarded-view.ts'
import { hexView, toHex, viewOf } from '../test/hex.ts'
import * as ipv4 from './ipv4.ts'
import * as ipv6 from './ipv6.ts'

// The worked example of many a textbook: its checksum is 0xb861.
const V4 = '4500 0073 0000 4000 40 11 b861 c0a80001 c0a800c7'

function v4Packet(): DataView {
  return hexView(V4 + '00'.repeat(0x73 - 20))
}

t.test('an IPv4 header comes apart into its fields', async (t) => {
  const view = v4Packet()
  t.ok(ipv4.checkIpv4(view, 0, view.byteLength))
  t.equal(ipv4.ipv4HeaderSize(view, 0), 20)
  t.equal(ipv4.ipv4TotalLength(view, 0), 0x73)
  t.equal(ipv4.ipv4End(view, 0), 0x73)
  t.equal(ipv4.ipv4Payload(view, 0), 20)
  t.equal(ipv4.ipv4Tos(view, 0), 0)
  t.equal(ipv4.ipv4Identification(view, 0), 0)
  t.ok(ipv4.ipv4DontFragment(view, 0))
  t.notOk(ipv4.ipv4IsFragment(view, 0))
  t.notOk(ipv4.ipv4MoreFragments(view, 0))
  t.equal(ipv4.ipv4FragmentOffset(view, 0), 0)
  t.equal(ipv4.ipv4Ttl(view, 0), 64)
  t.equal(ipv4.ipv4Protocol(view, 0), ipv4.PROTOCOL_UDP)
  t.equal(ipv4.ipv4Checksum(view, 0), 0xb861)
  t.equal(ipv4.ipv4Source(view, 0), 0xc0a80001)
  t.equal(ipv4.ipv4Target(view, 0), 0xc0a800c7)
  t.ok(ipv4.ipv4HeaderHolds(view, 0))
})

t.test('an IPv4 header is written whole, over whatever stood there', async (t) => {
  const view = hexView('ff'.repeat(20))
  ipv4.writeIpv4Header(view, 0, 0x73, ipv4.PROTOCOL_UDP, 64, 0xc0a80001, 0xc0a800c7)
  t.equal(toHex(view), V4.replace(/ /g, ''))
})

t.test('each IPv4 setter writes its own field and the checksum is refilled', async (t) => {
  const view = hexView('4f00'.padEnd(120, '0'))
  ipv4.setIpv4Tos(view, 0, 0xb8)
  ipv4.setIpv4TotalLength(view, 0, 60)
  ipv4.setIpv4Identification(view, 0, 0x1234)
  ipv4.setIpv4Fragment(view, 0, 1480, false, true)
  ipv4.setIpv4Ttl(view, 0, 3)
  ipv4.setIpv4Protocol(view, 0, ipv4.PROTOCOL_TCP)
  ipv4.setIpv4Source(view, 0, 0xfffefdfc)
  ipv4.setIpv4Target(view, 0, 0x0a000001)
  ipv4.setIpv4Checksum(view, 0, 0xffff)
  t.equal(toHex(view, 0, 20), '4fb8003c123420b90306fffffffefdfc0a000001')
  t.notOk(ipv4.ipv4HeaderHolds(view, 0))
  ipv4.fillIpv4Checksum(view, 0)
  t.ok(ipv4.ipv4HeaderHolds(view, 0))
  t.equal(ipv4.ipv4HeaderSize(view, 0), 60)
  t.equal(ipv4.ipv4FragmentOffset(view, 0), 1480)
  t.ok(ipv4.ipv4MoreFragments(view, 0))
  t.ok(ipv4.ipv4IsFragment(view, 0))
  t.notOk(ipv4.ipv4DontFragment(view, 0))
})

t.test('the last fragment is a fragment though no more follow', async (t) => {
  const view = v4Packet()
  ipv4.setIpv4Fragment(view, 0, 65528, true, false)
  t.ok(ipv4.ipv4IsFragment(view, 0))
  t.notOk(ipv4.ipv4MoreFragments(view, 0))
  t.ok(ipv4.ipv4DontFragment(view, 0))
  t.equal(ipv4.ipv4FragmentOffset(view, 0), 65528)
})

t.test('every TTL counts down to one less with a right checksum', async (t) => {
  for (let ttl = 255; ttl > 0; ttl--) {
    const view = v4Packet()
    ipv4.setIpv4Ttl(view, 0, ttl)
    ipv4.fillIpv4Checksum(view, 0)
    ipv4.decrementIpv4Ttl(view, 0)
    if (ipv4.ipv4Ttl(view, 0) !== ttl - 1 || !ipv4.ipv4HeaderHolds(view, 0)) t.fail(`ttl ${ttl}`)
    if (ipv4.ipv4Protocol(view, 0) !== ipv4.PROTOCOL_UDP) t.fail(`protocol at ttl ${ttl}`)
  }
})

t.test('IPv4 packets that would lead accessors astray are refused', async (t) => {
  const size = v4Packet().byteLength
  const cases: [string, number, number][] = [
    ['version 6', 0, 0x65],
    ['a header of 16 bytes', 0, 0x44],
  ]
  for (const [name, at, value] of cases) {
    const view = v4Packet()
    view.setUint8(at, value)
    t.notOk(ipv4.checkIpv4(view, 0, size), name)
  }
  const view = v4Packet()
  t.notOk(ipv4.checkIpv4(view, 0, 19), 'a cut header')
  t.notOk(ipv4.checkIpv4(view, 0, size - 1), 'a total length beyond the end')
  t.ok(ipv4.checkIpv4(hexView(`${V4}${'00'.repeat(200)}`), 0, 200), 'padding behind it is fine')
  ipv4.setIpv4TotalLength(view, 0, 19)
  t.notOk(ipv4.checkIpv4(view, 0, size), 'a total length inside the header')
  view.setUint8(0, 0x46)
  ipv4.setIpv4TotalLength(view, 0, 23)
  t.notOk(ipv4.checkIpv4(view, 0, size), 'a total length inside the options')
})

const V6_FIXED =
  '6ab12345 0010 11 40 20010db8000000000000000000000001 20010db80000000000000000000000ff'

t.test('an IPv6 header comes apart into its fields', async (t) => {
  const view = hexView(`${V6_FIXED}${'00'.repeat(16)}`)
  t.ok(ipv6.checkIpv6(view, 0, 56))
  t.notOk(ipv6.checkIpv6(view, 0, 55))
  t.notOk(ipv6.checkIpv6(view, 0, 39))
  t.equal(ipv6.ipv6TrafficClass(view, 0), 0xab)
  t.equal(ipv6.ipv6FlowLabel(view, 0), 0x12345)
  t.equal(ipv6.ipv6PayloadLength(view, 0), 16)
  t.equal(ipv6.ipv6End(view, 0), 56)
  t.equal(ipv6.ipv6NextHeader(view, 0), 17)
  t.equal(ipv6.ipv6HopLimit(view, 0), 64)
  t.equal(ipv6.ipv6Word(view, ipv6.ipv6SourceAt(0), 0), 0x20010db8)
  t.equal(ipv6.ipv6Word(view, ipv6.ipv6SourceAt(0), 3), 1)
  t.equal(ipv6.ipv6Word(view, ipv6.ipv6TargetAt(0), 3), 0xff)
  view.setUint8(0, 0x4a)
  t.notOk(ipv6.checkIpv6(view, 0, 56))
})

t.test('IPv6 setters each write their own field', async (t) => {
  const view = hexView('00'.repeat(56))
  const from = hexView('20010db8000000000000000000000001 20010db80000000000000000000000ff')
  ipv6.writeIpv6Header(view, 0, 9, 6, 1)
  t.equal(toHex(view, 0, 8), '6000000000090601')
  ipv6.setIpv6TrafficClass(view, 0, 0xab)
  ipv6.setIpv6FlowLabel(view, 0, 0x12345)
  ipv6.setIpv6PayloadLength(view, 0, 16)
  ipv6.setIpv6NextHeader(view, 0, 17)
  ipv6.setIpv6HopLimit(view, 0, 64)
  ipv6.copyIpv6Address(from, 0, view, ipv6.ipv6SourceAt(0))
  ipv6.copyIpv6Address(from, 16, view, ipv6.ipv6TargetAt(0))
  t.equal(toHex(view, 0, 40), V6_FIXED.replace(/ /g, ''))
})

t.test('IPv6 addresses are compared in every byte and classified', async (t) => {
  const view = hexView('20010db8000000000000000000000001 20010db8000000000000000000000001')
  t.ok(ipv6.equalIpv6Address(view, 0, view, 16))
  for (let i = 0; i < 16; i++) {
    const other = hexView(toHex(view))
    other.setUint8(16 + i, other.getUint8(16 + i) ^ 0x80)
    t.notOk(ipv6.equalIpv6Address(other, 0, other, 16), `byte ${i}`)
  }
  const at = (text: string): DataView => hexView(text.padEnd(32, '0'))
  t.ok(ipv6.isIpv6Multicast(at('ff02'), 0))
  t.notOk(ipv6.isIpv6Multicast(at('fe80'), 0))
  t.ok(ipv6.isIpv6LinkLocal(at('fe80'), 0))
  t.ok(ipv6.isIpv6LinkLocal(at('febf'), 0))
  t.notOk(ipv6.isIpv6LinkLocal(at('fec0'), 0))
  t.ok(ipv6.isIpv6Unspecified(at(''), 0))
  t.notOk(ipv6.isIpv6Unspecified(hexView(`${'00'.repeat(15)}01`), 0))
})

/** An IPv6 packet whose chain starts with `next` and goes on as `chain` spells. */
function chained(next: number, chain: string): DataView {
  const payload = chain.replace(/\s/g, '').length / 2
  const view = hexView('00'.repeat(40) + chain)
  ipv6.writeIpv6Header(view, 0, payload, next, 64)
  return view
}

const BLOCK = '00'.repeat(6)

t.test('the walk finds the upper layer behind the extension headers', async (t) => {
  // name, first next header, chain, protocol, upper - 40, fragment header - 40 or -1
  const cases: [string, number, string, number, number, number][] = [
    ['no extension', 6, '00'.repeat(20), 6, 0, -1],
    ['no payload at all', 59, '', 59, 0, -1],
    ['hop by hop', 0, `1100${BLOCK} ${'00'.repeat(8)}`, 17, 8, -1],
    ['options of 24 bytes', 60, `0602${BLOCK}${'00'.repeat(16)} ${'00'.repeat(20)}`, 6, 24, -1],
    ['a first fragment', 44, `1100 0001 00000007 ${'00'.repeat(8)}`, 17, 8, 0],
    ['an atomic fragment', 44, `1100 0000 00000007 ${'00'.repeat(8)}`, 17, 8, 0],
    ['a later fragment', 44, `1100 05a8 00000007 ${'00'.repeat(8)}`, 17, 8, 0],
    ['a later fragment whose payload looks like options', 44, '3c00 05a8 00000007', 60, 8, 0],
    [
      'hop by hop, routing, fragment, options',
      0,
      `2b00${BLOCK} 2c00${BLOCK} 3c00 0001 00000007 0600${BLOCK} ${'00'.repeat(20)}`,
      6,
      32,
      16,
    ],
    ['authentication of 24 bytes', 51, `0604${'00'.repeat(22)} ${'00'.repeat(20)}`, 6, 24, -1],
    ['an encrypted rest', 50, '00'.repeat(8), 50, 0, -1],
  ]
  for (const [name, next, chain, protocol, upper, fragment] of cases) {
    const view = chained(next, chain)
    const walk = ipv6.walkIpv6(view, 0)
    t.not(walk, ipv6.IPV6_WALK_FAILED, name)
    t.equal(ipv6.walkProtocol(walk), protocol, name)
    t.equal(ipv6.walkUpper(0, walk), 40 + upper, name)
    t.equal(ipv6.walkFragment(0, walk), fragment < 0 ? -1 : 40 + fragment, name)
  }
})

t.test('the walk refuses malformed and endless chains', async (t) => {
  const cases: [string, number, string][] = [
    ['hop by hop that is not first', 60, `0000${BLOCK} 1100${BLOCK} ${'00'.repeat(8)}`],
    ['two fragment headers', 44, `2c00 0001 00000007 1100 0001 00000007 ${'00'.repeat(8)}`],
    ['a header that leaves the packet', 60, `1101${BLOCK}`],
    ['a header that is cut', 60, '1100 0000'],
    ['an authentication header of 12 bytes', 51, `0601${'00'.repeat(22)}`],
    ['nine headers', 60, `${`3c00${BLOCK}`.repeat(8)}0600${BLOCK}${'00'.repeat(20)}`],
    [
      'more than 1024 bytes',
      60,
      `${`067f${'00'.repeat(1022)}`.replace('067f', '3c7f')}0600${BLOCK}`,
    ],
  ]
  for (const [name, next, chain] of cases)
    t.equal(ipv6.walkIpv6(chained(next, chain), 0), ipv6.IPV6_WALK_FAILED, name)
  const eight = `${`3c00${BLOCK}`.repeat(7)}0600${BLOCK}${'00'.repeat(20)}`
  t.equal(ipv6.walkProtocol(ipv6.walkIpv6(chained(60, eight), 0)), 6, 'eight headers are fine')
  const whole = chained(60, `067f${'00'.repeat(1022)}`)
  t.equal(ipv6.walkUpper(0, ipv6.walkIpv6(whole, 0)), 40 + 1024, '1024 bytes are fine')
})

t.test('the walk reads nothing behind a packet that ends where a header is due', async (t) => {
  for (const next of [0, 43, 44, 51, 60, 135]) {
    for (let size = 0; size < 8; size++) {
      const bytes = new Uint8Array(40 + size)
      ipv6.writeIpv6Header(viewOf(bytes), 0, size, next, 64)
      const walk = ipv6.walkIpv6(guardedView(bytes, 0, bytes.length), 0)
      if (walk !== ipv6.IPV6_WALK_FAILED) t.fail(`next header ${next}, ${size} bytes`)
    }
  }
})

t.test('a fragment header is written and read back', async (t) => {
  const view = hexView('ff'.repeat(8))
  ipv6.writeIpv6Fragment(view, 0, 17, 1448, true, 0xdeadbeef)
  t.equal(toHex(view), '110005a9deadbeef')
  t.equal(ipv6.ipv6FragmentOffset(view, 0), 1448)
  t.ok(ipv6.ipv6MoreFragments(view, 0))
  t.equal(ipv6.ipv6FragmentIdentification(view, 0), 0xdeadbeef)
  ipv6.writeIpv6Fragment(view, 0, 17, 65528, false, 1)
  t.notOk(ipv6.ipv6MoreFragments(view, 0))
  t.equal(ipv6.ipv6FragmentOffset(view, 0), 65528)
})
