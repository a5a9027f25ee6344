// Goal: passes start at once at rest, gather under load, never overlap, and are repeated when they
// fail. Method: time by hand and passes that say when they ran.

import t, { type Test } from 'tap'
import { type PassEnd, Passes } from './control-loop.ts'
import { LoopWorld, settle } from './testing/loops.ts'

const PACE = { quietMs: 50, maxMs: 200 }

function passes(t: Test, pass: () => Promise<PassEnd> = async () => 'done') {
  const world = new LoopWorld()
  const ranMs: number[] = []
  const made = new Passes(world.context, 'test', PACE, () => {
    ranMs.push(world.timers.clock.nowMs())
    return pass()
  })
  t.teardown(() => made.stop())
  return { world, made, ranMs }
}

t.test('at rest a poke runs at once; soon after, pokes are gathered', async (t) => {
  const { world, made, ranMs } = passes(t)
  made.start()
  await world.run(1)
  t.same(ranMs, [0], 'the first pass needs no poke')
  await world.run(1_000, 1)
  made.poke()
  await world.run(10, 1)
  t.equal(ranMs.length, 2)
  made.poke()
  await world.run(40, 1)
  made.poke()
  await world.run(40, 1)
  t.equal(ranMs.length, 2, 'not yet quiet')
  await world.run(20, 1)
  t.equal(ranMs.length, 3)
})

t.test('pokes without pause do not put a pass off for ever', async (t) => {
  const { world, made, ranMs } = passes(t)
  made.start()
  for (let i = 0; i < 1_000; i++) {
    made.poke()
    await world.run(1, 1)
  }
  t.ok(ranMs.length >= 4 && ranMs.length <= 7, `${ranMs.length} passes`)
})

t.test('passes do not overlap; a poke meanwhile is not lost', async (t) => {
  let finish: () => void = () => {}
  const { world, made, ranMs } = passes(
    t,
    () => new Promise((resolve) => (finish = () => resolve('done'))),
  )
  made.start()
  await world.run(5)
  made.poke()
  await world.run(500)
  t.equal(ranMs.length, 1)
  finish()
  await world.run(1_000)
  t.equal(ranMs.length, 2)
})

t.test('work that is left goes on at once', async (t) => {
  let left = 3
  const { world, made, ranMs } = passes(t, async () => (--left > 0 ? 'more' : 'done'))
  made.start()
  await world.run(20, 1)
  t.equal(ranMs.length, 3)
})

t.test('a pass that fails is repeated, later and later', async (t) => {
  let failures = 3
  const { world, made, ranMs } = passes(t, async () => {
    if (failures-- > 0) throw new Error('no leader')
    return 'done'
  })
  made.start()
  await world.run(1)
  made.poke()
  await world.run(2_000)
  // The first failed at 1 ms.
  t.same(ranMs, [0, 101, 301, 701])
  t.same(world.warnings[0], 'a pass failed: no leader')
})

t.test('stopped: nothing runs; started again: it does', async (t) => {
  const { world, made, ranMs } = passes(t)
  made.start()
  made.stop()
  made.poke()
  await world.run(1_000)
  t.equal(ranMs.length, 0)
  made.start()
  await world.run(1)
  await settle()
  t.equal(ranMs.length, 1)
})
