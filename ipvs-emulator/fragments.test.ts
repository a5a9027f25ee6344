// Notes of first fragments: found again by exactly what was noted, for every identification there
// is.

import * as fc from 'fast-check'
import t from 'tap'
import { NEXT_FRAGMENT, writeIpv6Fragment, writeIpv6Header } from '../wire/ipv6.ts'
import { Fragments } from './fragments.ts'
import { FRAGMENT_TIMEOUT_MS, TICK_MS } from './limits.ts'

const UDP = 17
const L4 = 48

/** An IPv6 packet of 64 bytes whose fragment header names `identification`; offset 0 =
 * the first. */
function fragment(identification: number, offset: number): DataView {
  const view = new DataView(new ArrayBuffer(64))
  for (let i = 0; i < 64; i++) view.setUint8(i, i * 7)
  writeIpv6Header(view, 0, 24, NEXT_FRAGMENT, 64)
  writeIpv6Fragment(view, 40, UDP, offset, true, identification)
  return view
}

function made(): Fragments {
  let seed = 1
  return new Fragments(() => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return seed
  })
}

t.test('a note is found by any identification of 32 bits', async () => {
  const fragments = made()
  const identification = fc.oneof(
    fc.constantFrom(0, 1, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff),
    fc.integer({ min: 0, max: 0xffffffff }),
  )
  fc.assert(
    fc.property(identification, fc.nat(1000), (id, connection) => {
      const first = fragment(id, 0)
      fragments.noteFirst(3, UDP, first, 0, L4, connection, 1, 10)
      return (
        fragments.findLater(3, UDP, fragment(id, 16), 0, L4, 10) === connection &&
        fragments.direction === 1 &&
        fragments.ports === first.getInt32(L4)
      )
    }),
  )
})

t.test('a note is found by nothing else, and not for ever', async (t) => {
  const fragments = made()
  const id = 0x90000001
  const later = fragment(id, 16)
  fragments.noteFirst(3, UDP, fragment(id, 0), 0, L4, 77, 0, 10)
  t.equal(fragments.findLater(4, UDP, later, 0, L4, 10), -1, 'another zone')
  t.equal(fragments.findLater(3, 6, later, 0, L4, 10), -1, 'another protocol')
  t.equal(fragments.findLater(3, UDP, fragment(id + 1, 16), 0, L4, 10), -1, 'another datagram')
  const unsigned = fragment(id & 0x7fffffff, 16)
  t.equal(fragments.findLater(3, UDP, unsigned, 0, L4, 10), -1, 'the sign matters')
  const late = 10 + FRAGMENT_TIMEOUT_MS / TICK_MS
  t.equal(fragments.findLater(3, UDP, later, 0, L4, late), 77, 'up to its time')
  t.equal(fragments.findLater(3, UDP, later, 0, L4, late + 1), -1, 'after its time')
})
