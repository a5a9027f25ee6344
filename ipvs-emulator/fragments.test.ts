// Notes of first fragments: found again by exactly what was noted, for every identification there is.

import * as fc from 'fast-check'
import t from 'tap'
import { Fragments } from './fragments.ts'
import { FRAGMENT_TIMEOUT_MS, TICK_MS } from './limits.ts'

const UDP = 17
const view = new DataView(new ArrayBuffer(32))
for (let i = 0; i < 32; i++) view.setUint8(i, i * 7)

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
    fc.property(identification, fc.constantFrom(1, 4), fc.nat(1000), (id, words, connection) => {
      fragments.note(3, UDP, id, view, 0, words, connection, 1, -5, 10)
      return (
        fragments.find(3, UDP, id, view, 0, words, 10) === connection &&
        fragments.direction === 1 &&
        fragments.ports === -5
      )
    }),
  )
})

t.test('a note is found by nothing else, and not for ever', async (t) => {
  const fragments = made()
  const id = 0x90000001
  fragments.note(3, UDP, id, view, 0, 4, 77, 0, 1, 10)
  t.equal(fragments.find(4, UDP, id, view, 0, 4, 10), -1, 'another zone')
  t.equal(fragments.find(3, 6, id, view, 0, 4, 10), -1, 'another protocol')
  t.equal(fragments.find(3, UDP, id + 1, view, 0, 4, 10), -1, 'another identification')
  t.equal(fragments.find(3, UDP, id & 0x7fffffff, view, 0, 4, 10), -1, 'the sign is no matter')
  t.equal(fragments.find(3, UDP, id, view, 0, 1, 10), -1, 'the other family')
  const late = 10 + FRAGMENT_TIMEOUT_MS / TICK_MS
  t.equal(fragments.find(3, UDP, id, view, 0, 4, late), 77, 'up to its time')
  t.equal(fragments.find(3, UDP, id, view, 0, 4, late + 1), -1, 'after its time')
})
