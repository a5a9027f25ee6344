// Goal: what is copied out is what was kept for that very connection, or nothing. Method: random
// histories against a Map; the refusals that lead here are in director.test.ts.

import fc from 'fast-check'
import t from 'tap'
import { HeldSyns } from './held-syns.ts'
import { HELD_SYN_SIZE_MAX, HELD_SYNS_MAX } from './limits.ts'

t.test('as a Map that forgets', async (t) => {
  const step = fc.record({
    do: fc.constantFrom('keep', 'copy', 'copy', 'drop'),
    // Few places, several connections to each.
    connection: fc.nat(7).map((n) => (n & 3) + (n >> 2) * 2 * HELD_SYNS_MAX),
    size: fc.nat(HELD_SYN_SIZE_MAX + 8),
    fill: fc.nat(255),
  })
  let copied = 0
  fc.assert(
    fc.property(fc.array(step, { minLength: 40, maxLength: 60 }), (steps) => {
      const held = new HeldSyns()
      const twin = new Map<number, { size: number; fill: number }>()
      const bytes = new Uint8Array(HELD_SYN_SIZE_MAX * 2)
      for (const { do: what, connection, size, fill } of steps) {
        if (what === 'keep') {
          bytes.fill(fill, 5, 5 + size)
          const kept = held.keep(connection, bytes, 5, 5 + size, -fill)
          if (kept !== (size > 0 && size <= HELD_SYN_SIZE_MAX)) throw new Error('kept')
          if (kept) {
            // One place serves one connection.
            for (const other of twin.keys()) {
              if ((other >>> 1) % HELD_SYNS_MAX === (connection >>> 1) % HELD_SYNS_MAX) {
                twin.delete(other)
              }
            }
            twin.set(connection, { size, fill })
          } else twin.delete(connection)
        } else if (what === 'drop') {
          held.drop(connection)
          twin.delete(connection)
        } else {
          bytes.fill(0)
          const known = twin.get(connection)
          const got = held.copy(connection, bytes, 9)
          if (got !== (known?.size ?? 0)) throw new Error(`size ${got}`)
          if (known === undefined) continue
          copied++
          const copy = bytes.subarray(9, 9 + got)
          if (!copy.every((byte) => byte === known.fill)) throw new Error('bytes')
          if (bytes[8] !== 0 || bytes[9 + got] !== 0) throw new Error('beyond')
          if (held.note !== -known.fill) throw new Error('note')
        }
      }
    }),
    { numRuns: 300, seed: 4 },
  )
  t.ok(copied > 300, `${copied} copies compared`)
})
