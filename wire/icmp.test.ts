// Goal: ICMP, ICMPv6 and neighbour discovery accessors agree with literal bytes; messages whose
// options would run away are refused.

import t from 'tap'
import { hexView, toHex } from '../test/hex.ts'
import { checksumHolds, pseudoSumV6 } from './checksum.ts'
import * as icmp from './icmp.ts'
import * as icmpv6 from './icmpv6.ts'

t.test('an echo request comes apart and is put together', async (t) => {
  const view = hexView('0800 0000 1234 0007 61626364')
  icmp.fillIcmpChecksum(view, 0, 12)
  t.ok(icmp.checkIcmp(view, 0, 12))
  t.notOk(icmp.checkIcmp(view, 0, 7))
  t.equal(icmp.icmpType(view, 0), icmp.ICMP_ECHO_REQUEST)
  t.equal(icmp.icmpCode(view, 0), 0)
  t.equal(icmp.icmpIdentifier(view, 0), 0x1234)
  t.equal(icmp.icmpSequence(view, 0), 7)
  t.ok(checksumHolds(view, 0, 12, 0))
  const copy = hexView('ffffffffffffffff 61626364')
  icmp.setIcmpType(copy, 0, icmp.ICMP_ECHO_REQUEST)
  icmp.setIcmpCode(copy, 0, 0)
  icmp.setIcmpIdentifier(copy, 0, 0x1234)
  icmp.setIcmpSequence(copy, 0, 7)
  icmp.setIcmpChecksum(copy, 0, icmp.icmpChecksum(view, 0))
  t.equal(toHex(copy), toHex(view))
  t.notOk(icmp.isIcmpError(icmp.ICMP_ECHO_REQUEST))
})

t.test('an error quotes a packet, if enough of it is there', async (t) => {
  const quoted = '4500 05dc 0000 4000 40 06 0000 0a000001 0a000002 04570050 00000001'
  const view = hexView(`0304 0000 0000 0514 ${quoted}`)
  t.ok(icmp.isIcmpError(icmp.icmpType(view, 0)))
  t.equal(icmp.icmpCode(view, 0), icmp.ICMP_CODE_FRAGMENTATION_NEEDED)
  t.equal(icmp.icmpMtu(view, 0), 1300)
  icmp.setIcmpMtu(view, 0, 1400)
  t.equal(icmp.icmpMtu(view, 0), 1400)
  t.equal(icmp.icmpEmbeddedAt(0), 8)
  t.ok(icmp.checkIcmpEmbedded(view, 0, 36))
  t.notOk(icmp.checkIcmpEmbedded(view, 0, 35), '7 bytes behind the header')
  view.setUint8(8, 0x46)
  t.notOk(icmp.checkIcmpEmbedded(view, 0, 36), 'options push the ports out')
  view.setUint8(8, 0x44)
  t.notOk(icmp.checkIcmpEmbedded(view, 0, 36), 'a header of 16 bytes')
  view.setUint8(8, 0x65)
  t.notOk(icmp.checkIcmpEmbedded(view, 0, 36), 'version 6')
})

t.test('every ICMP error type is known as one', async (t) => {
  const errors = []
  for (let type = 0; type < 256; type++) if (icmp.isIcmpError(type)) errors.push(type)
  t.same(errors, [3, 4, 5, 11, 12])
})

const V6 = '60000000 0020 3a ff fe800000000000000000000000000001 ff0200000000000000000001ff000002'
const TARGET = '20010db8000000000000000000000002'
const SOLICITATION = `8700 0000 00000000 ${TARGET} 0101 0242c0a80001`

t.test('a neighbour solicitation comes apart', async (t) => {
  const view = hexView(V6 + SOLICITATION)
  icmpv6.fillIcmpv6Checksum(view, 0, 40, 72)
  t.ok(checksumHolds(view, 40, 72, pseudoSumV6(view, 0, 58, 32)))
  t.ok(icmpv6.checkIcmpv6(view, 40, 72))
  t.notOk(icmpv6.checkIcmpv6(view, 40, 47))
  t.ok(icmpv6.checkNeighbour(view, 40, 72))
  t.equal(icmpv6.icmpv6Type(view, 40), icmpv6.ICMPV6_NEIGHBOUR_SOLICITATION)
  t.equal(icmpv6.icmpv6Code(view, 40), 0)
  t.equal(toHex(view, icmpv6.neighbourTargetAt(40), icmpv6.neighbourTargetAt(40) + 16), TARGET)
  const option = icmpv6.neighbourOption(view, 40, 72, icmpv6.ND_OPTION_SOURCE_LINK)
  t.equal(option, 64)
  t.equal(icmpv6.linkOptionMacHi(view, option), 0x0242)
  t.equal(icmpv6.linkOptionMacLo(view, option), 0xc0a80001)
  t.equal(icmpv6.neighbourOption(view, 40, 72, icmpv6.ND_OPTION_TARGET_LINK), -1)
})

t.test('an advertisement is put together', async (t) => {
  const view = hexView(`ffffffff ffffffff ${TARGET} ffffffffffffffff`)
  icmpv6.setIcmpv6Type(view, 0, icmpv6.ICMPV6_NEIGHBOUR_ADVERTISEMENT)
  icmpv6.setIcmpv6Code(view, 0, 0)
  icmpv6.setIcmpv6Checksum(view, 0, 0xabcd)
  icmpv6.setNeighbourFlags(view, 0, icmpv6.ND_FLAG_SOLICITED | icmpv6.ND_FLAG_OVERRIDE)
  icmpv6.writeLinkOption(view, 24, icmpv6.ND_OPTION_TARGET_LINK, 0x0242, 0xc0a80002)
  t.equal(toHex(view), `8800abcd60000000${TARGET}02010242c0a80002`)
  t.equal(icmpv6.neighbourFlags(view, 0), 0x60)
  t.equal(icmpv6.icmpv6Checksum(view, 0), 0xabcd)
  t.ok(icmpv6.checkNeighbour(view, 0, 32))
})

t.test('neighbour messages with runaway options are refused', async (t) => {
  const cases: [string, string][] = [
    ['an option of length 0', SOLICITATION.replace('0101', '0100')],
    ['an option beyond the end', SOLICITATION.replace('0101', '0102')],
    ['a cut option', `8700 0000 00000000 ${TARGET} 0101 0242`],
    ['no target', '8700 0000 00000000 20010db8'],
    ['a code', SOLICITATION.replace('8700', '8701')],
    ['another type', SOLICITATION.replace('8700', '8600')],
  ]
  for (const [name, text] of cases) {
    const view = hexView(text)
    t.notOk(icmpv6.checkNeighbour(view, 0, view.byteLength), name)
  }
})

t.test('ICMPv6 echo and packet too big', async (t) => {
  const view = hexView('8000 0000 1234 0007')
  t.equal(icmpv6.icmpv6Identifier(view, 0), 0x1234)
  t.equal(icmpv6.icmpv6Sequence(view, 0), 7)
  icmpv6.setIcmpv6Identifier(view, 0, 1)
  icmpv6.setIcmpv6Sequence(view, 0, 2)
  t.equal(toHex(view), '8000000000010002')
  icmpv6.setIcmpv6Mtu(view, 0, 0x10000)
  t.equal(icmpv6.icmpv6Mtu(view, 0), 0x10000)
  t.notOk(icmpv6.isIcmpv6Error(128))
  t.ok(icmpv6.isIcmpv6Error(icmpv6.ICMPV6_PACKET_TOO_BIG))
  const error = hexView(`0200 0000 00000500 ${V6} 0000000000000000`)
  t.ok(icmpv6.checkIcmpv6Embedded(error, 0, 56))
  t.notOk(icmpv6.checkIcmpv6Embedded(error, 0, 55))
  error.setUint8(icmpv6.icmpv6EmbeddedAt(0), 0x45)
  t.notOk(icmpv6.checkIcmpv6Embedded(error, 0, 56))
})
