// Goal: once a check returned true, no accessor touches a byte outside [at, end), whatever the
// bytes are. Method: captured packets are mutated (bytes changed, ends cut, pieces swapped), laid
// into a larger buffer at a random place, and read through a view that throws outside their range.
// Dissector and printer visit every reader of wire/; the writers that derive from a packet are
// called as well.
//
// WEFT_FUZZ_RUNS and WEFT_FUZZ_SEED choose how long and from where; a failure prints its seed.

import fc from 'fast-check'
import t from 'tap'
import { ETHERNET_HEADER_SIZE } from '../../wire/ethernet.ts'
import * as icmp from '../../wire/icmp.ts'
import * as icmpv6 from '../../wire/icmpv6.ts'
import * as ipv4 from '../../wire/ipv4.ts'
import * as ipv6 from '../../wire/ipv6.ts'
import { printFrame } from '../../wire/print.ts'
import * as tcp from '../../wire/tcp.ts'
import * as reset from '../../wire/tcp-reset.ts'
import { dissect } from '../dissect.ts'
import { loadFixtures } from '../fixtures.ts'
import { guardedView } from '../guarded-view.ts'
import { viewOf } from '../hex.ts'

const RUNS = Number(process.env.WEFT_FUZZ_RUNS ?? 3000)
const SEED = process.env.WEFT_FUZZ_SEED
const PARAMETERS = SEED === undefined ? { numRuns: RUNS } : { numRuns: RUNS, seed: Number(SEED) }

/** Room behind the packet for what derived writers write. */
const OUT_SIZE = 64

const packets = loadFixtures().map(({ bytes }) => bytes)

/** One change to a packet: a place (folded into it) and a new value, near the headers more
 * often. */
const change = fc.record({
  at: fc.oneof({ weight: 4, arbitrary: fc.nat(80) }, { weight: 1, arbitrary: fc.nat(1500) }),
  value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 4, 6, 8, 17, 43, 44, 51, 58, 60, 255)),
})

const mutated = fc
  .record({
    packet: fc.nat(packets.length - 1),
    changes: fc.array(change, { maxLength: 6 }),
    cut: fc.oneof(fc.constant(0), fc.nat(60), fc.nat(1500)),
    fit: fc.boolean(),
    front: fc.nat(40),
  })
  .map(({ packet, changes, cut, fit, front }) => {
    const whole = packets[packet]!.slice()
    for (const { at, value } of changes) whole[at % whole.length] = value
    const bytes = whole.subarray(0, Math.max(0, whole.length - cut))
    if (fit) fitLength(bytes)
    return { bytes, front }
  })

/** Sets the IP length to what is left, so that a cut passes the IP check and tries the next
 * ones. */
function fitLength(bytes: Uint8Array): void {
  const view = viewOf(bytes)
  const size = bytes.length - ETHERNET_HEADER_SIZE
  if (size >= ipv4.IPV4_HEADER_SIZE && view.getUint8(ETHERNET_HEADER_SIZE) >>> 4 === 4)
    ipv4.setIpv4TotalLength(view, ETHERNET_HEADER_SIZE, size)
  if (size >= ipv6.IPV6_HEADER_SIZE && view.getUint8(ETHERNET_HEADER_SIZE) >>> 4 === 6)
    ipv6.setIpv6PayloadLength(view, ETHERNET_HEADER_SIZE, size - ipv6.IPV6_HEADER_SIZE)
}

/** Lays `bytes` at `front` into a larger buffer of noise, with `room` writable bytes behind. */
function lay(bytes: Uint8Array, front: number, room: number): DataView {
  const buffer = new Uint8Array(front + bytes.length + room + 40).fill(0xa5)
  buffer.set(bytes, front)
  return guardedView(buffer, front, front + bytes.length + room)
}

t.test('the guard itself guards', async (t) => {
  const view = guardedView(new Uint8Array(10), 2, 8)
  view.setUint32(2, 1)
  t.equal(view.getUint32(2), 1)
  t.throws(() => view.getUint8(1), RangeError)
  t.throws(() => view.getUint8(8), RangeError)
  t.throws(() => view.getUint16(7), RangeError)
  t.throws(() => view.getInt32(5), RangeError)
  t.throws(() => view.setUint8(8, 0), RangeError)
})

t.test('readers stay inside the packet', async () => {
  fc.assert(
    fc.property(mutated, ({ bytes, front }) => {
      const view = lay(bytes, front, 0)
      dissect(view, front, front + bytes.length)
      printFrame(view, front, front + bytes.length)
    }),
    PARAMETERS,
  )
})

t.test('readers of random bytes stay inside them', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(20), (bytes, front) => {
      const view = lay(bytes, front, 0)
      dissect(view, front, front + bytes.length)
      printFrame(view, front, front + bytes.length)
    }),
    PARAMETERS,
  )
})

t.test('writers derived from a packet stay inside it and their room', async () => {
  fc.assert(
    fc.property(mutated, fc.nat(65535), ({ bytes, front }, number) => {
      const ip = front + ETHERNET_HEADER_SIZE
      const end = front + bytes.length
      const view = lay(bytes, front, OUT_SIZE)
      if (ipv4.checkIpv4(view, ip, end)) changeV4(view, ip, end, number)
      else if (ipv6.checkIpv6(view, ip, end)) changeV6(view, ip, end, number)
    }),
    PARAMETERS,
  )
})

function changeV4(view: DataView, ip: number, out: number, number: number): void {
  const end = ipv4.ipv4End(view, ip)
  const upper = ipv4.ipv4Payload(view, ip)
  if (ipv4.ipv4Ttl(view, ip) > 0) ipv4.decrementIpv4Ttl(view, ip)
  ipv4.fillIpv4Checksum(view, ip)
  if (tcp.checkTcp(view, upper, end)) {
    reset.writeTcpResetReplyV4(view, ip, out)
    reset.writeTcpResetForwardV4(view, ip, out)
    tcp.clampTcpMss(view, upper, number, false)
  }
  if (icmp.checkIcmp(view, upper, end)) icmp.fillIcmpChecksum(view, upper, end)
}

function changeV6(view: DataView, ip: number, out: number, number: number): void {
  const walk = ipv6.walkIpv6(view, ip)
  if (walk === ipv6.IPV6_WALK_FAILED) return
  const end = ipv6.ipv6End(view, ip)
  const upper = ipv6.walkUpper(ip, walk)
  if (upper > end) throw new Error(`upper layer at ${upper} behind the end ${end}`)
  const fragment = ipv6.walkFragment(ip, walk)
  if (fragment >= 0) {
    ipv6.writeIpv6Fragment(view, fragment, ipv6.walkProtocol(walk), 8, true, number)
    if (fragment + 8 > upper) throw new Error('the fragment header is behind the upper layer')
  }
  if (tcp.checkTcp(view, upper, end)) {
    reset.writeTcpResetReplyV6(view, ip, upper, out)
    reset.writeTcpResetForwardV6(view, ip, upper, out)
    tcp.clampTcpMss(view, upper, number, false)
  }
  if (icmpv6.checkIcmpv6(view, upper, end)) icmpv6.fillIcmpv6Checksum(view, ip, upper, end)
}
