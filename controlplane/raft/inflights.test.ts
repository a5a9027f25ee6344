// Goal: the window counts right however it wraps and grows. Method: random operations against a
// plain list.

import fc from 'fast-check'
import t from 'tap'
import { Inflights } from './inflights.ts'

t.test('the ring behaves like a list', async () => {
  const operation = fc.record({
    free: fc.boolean(),
    step: fc.nat({ max: 6 }),
    size: fc.nat({ max: 9 }),
  })
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 120 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 60 }),
      (operations, maxMessages, maxBytes) => {
        const ring = new Inflights(maxMessages, maxBytes)
        let list: { index: number; size: number }[] = []
        let last = 0
        for (const { free, step, size } of operations) {
          if (free) {
            const upTo = (list[0]?.index ?? 0) + step
            ring.freeUpTo(upTo)
            list = list.filter(({ index }) => index > upTo)
          } else if (!ring.full) {
            last += step + 1
            ring.add(last, size)
            list.push({ index: last, size })
          }
          const bytes = list.reduce((sum, { size }) => sum + size, 0)
          const full = list.length >= maxMessages || bytes >= maxBytes
          if (ring.count !== list.length || ring.bytes !== bytes || ring.full !== full) return false
        }
        ring.reset()
        return ring.count === 0 && ring.bytes === 0
      },
    ),
    { numRuns: 1000 },
  )
})
