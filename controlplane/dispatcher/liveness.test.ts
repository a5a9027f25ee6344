// Goal: a leader that stood still itself takes nobody down for it. Method: the judge of who is
// alive alone, with a clock moved by hand.

import t from 'tap'
import { prng } from '../../base/prng.ts'
import { LIVENESS_TICK_MS } from './limits.ts'
import { Liveness } from './liveness.ts'

t.test('a standstill of the leader', async (t) => {
  let nowMs = 0
  const down: string[] = []
  const liveness = new Liveness({
    clock: { nowMs: () => nowMs, wallMs: () => nowMs },
    random: prng(1),
    periodMs: () => 1_000,
    onAway: () => {},
    onDown: (nodeId) => down.push(nodeId),
  })
  const pass = (ms: number, beating: readonly string[]): void => {
    for (const endMs = nowMs + ms; nowMs < endMs; ) {
      nowMs += LIVENESS_TICK_MS
      for (const id of beating) liveness.beat(id, 's')
      liveness.tick()
    }
  }
  for (const id of ['a', 'b']) liveness.register(id, 's')
  pass(1_000, ['a', 'b'])
  nowMs += 30_000
  liveness.tick()
  t.same(down, [], 'nobody could be heard')
  pass(2_500, ['a'])
  t.same(down, [], 'the time before the standstill counts, the standstill does not')
  pass(1_000, ['a'])
  t.same(down, ['b'], 'who stays silent is down')
})

t.test('a new leader and a node that died with the old one', async (t) => {
  let nowMs = 0
  const told: string[] = []
  const liveness = new Liveness({
    clock: { nowMs: () => nowMs, wallMs: () => nowMs },
    random: prng(1),
    periodMs: () => 1_000,
    onAway: (nodeId, isAway) => told.push(`${nodeId} ${isAway ? 'away' : 'back'}`),
    onDown: (nodeId) => told.push(`${nodeId} down`),
  })
  const pass = (ms: number): void => {
    for (const endMs = nowMs + ms; nowMs < endMs; ) {
      nowMs += LIVENESS_TICK_MS
      for (const id of ['a', 'b']) liveness.beat(id, 's')
      liveness.tick()
    }
  }
  for (const id of ['a', 'b', 'dead', 'late']) liveness.expect(id)
  for (const id of ['a', 'b']) liveness.register(id, 's')
  liveness.hear('a', ['dead'], [])
  pass(600)
  t.same(told, [])
  pass(300)
  t.same(told, ['dead away'], 'who is not heard by the others is not waited for')
  liveness.register('late', 's')
  pass(2_200)
  t.same(told, ['dead away', 'dead down'], 'others are')
})
