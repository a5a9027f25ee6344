// Goal: works do not overlap, and one that fails holds nobody up. Method: works that end when told.

import t from 'tap'
import { Turns } from './turns.ts'

t.test('one after another, however each ends', async (t) => {
  const turns = new Turns()
  const steps: string[] = []
  const gate = Promise.withResolvers<void>()
  const first = turns.take(async () => {
    steps.push('first begins')
    await gate.promise
    steps.push('first ends')
    return 1
  })
  const second = turns.take(async () => {
    steps.push('second')
    throw new Error('it fails')
  })
  const third = turns.take(async () => {
    steps.push('third')
    return 3
  })
  gate.resolve()
  t.equal(await first, 1)
  await t.rejects(second, /it fails/)
  t.equal(await third, 3)
  t.same(steps, ['first begins', 'first ends', 'second', 'third'])
})
