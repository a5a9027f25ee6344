// Goal: the store keeps as much of a slot's history as it should, and nothing that is of no use.
// Method: tasks put into the store, a reaper alone.

import t, { type Test } from 'tap'
import type { TaskObject, TaskState } from '../store/objects.ts'
import { LoopWorld } from '../store/testing/loops.ts'
import { clusterObject, serviceObject, taskObject, taskSpec } from '../store/testing/objects.ts'
import { Reaper } from './reaper.ts'

async function reaping(t: Test, limit = 5) {
  const world = new LoopWorld()
  const { spec } = clusterObject()
  const Orchestration = { TaskHistoryRetentionLimit: limit }
  await world.add('clusters', clusterObject({ spec: { ...spec, Orchestration } }))
  await world.add('services', serviceObject('web'))
  const reaper = new Reaper(world.context)
  world.start(reaper)
  t.teardown(() => world.stop())
  return { world, reaper }
}

const task = (
  id: string,
  state: TaskState,
  desiredState: TaskState,
  changes: Partial<TaskObject> = {},
) => taskObject(id, { desiredState, status: { ...taskObject(id).status, state }, ...changes })
const ids = (world: LoopWorld) =>
  world
    .all('tasks')
    .map(({ id }) => id)
    .sort()

async function fill(world: LoopWorld, count: number, changes: Partial<TaskObject> = {}) {
  for (let i = 0; i < count; i++) {
    await world.add('tasks', task(`old${i}`, 'failed', 'shutdown', changes))
    await world.run(10)
  }
  await world.add('tasks', task('run', 'running', 'running', changes))
  await world.run(3_000)
}

t.test('a slot keeps five, the newest, its running one included', async (t) => {
  const { world, reaper } = await reaping(t)
  await fill(world, 8)
  t.same(ids(world), ['old4', 'old5', 'old6', 'old7', 'run'])
  t.equal(reaper.counters.reaped, 4)
})

t.test('other limits', async (t) => {
  const rows = [
    [0, 1],
    [1, 1],
    [2, 2],
    [-1, 9],
  ] as const
  for (const [limit, kept] of rows) {
    const { world } = await reaping(t, limit)
    await fill(world, 8)
    t.equal(ids(world).length, kept, `limit ${limit}`)
    t.ok(ids(world).includes('run'))
  }
})

t.test('attempts are counted from history: it is kept for them', async (t) => {
  const { world } = await reaping(t, 2)
  await fill(world, 9, { spec: taskSpec({ RestartPolicy: { MaxAttempts: 5 } }) })
  t.equal(ids(world).length, 6)
})

t.test('a changed limit is heeded at once', async (t) => {
  const { world } = await reaping(t, -1)
  await fill(world, 8)
  const [cluster] = world.all('clusters')
  await world.change('clusters', cluster!.id, (old) => ({
    ...old,
    spec: { ...old.spec, Orchestration: { TaskHistoryRetentionLimit: 3 } },
  }))
  await world.run(1_000)
  t.equal(ids(world).length, 3)
})

t.test('what is useless goes, what is not stays', async (t) => {
  const { world } = await reaping(t)
  await world.add(
    'tasks',
    task('removed-stopped', 'shutdown', 'remove', { slot: 2 }),
    task('removed-running', 'running', 'remove', { slot: 3, nodeId: 'n' }),
    task('removed-unplaced', 'pending', 'remove', { slot: 4 }),
    task('unplaced', 'new', 'shutdown', { slot: 5 }),
    task('placed', 'assigned', 'shutdown', { slot: 6, nodeId: 'n' }),
    task('ended-unseen', 'failed', 'running', { slot: 7 }),
    task('gone-stopped', 'failed', 'shutdown', { serviceId: 'gone' }),
    task('gone-running', 'running', 'remove', { serviceId: 'gone', nodeId: 'n' }),
    task('attachment', 'shutdown', 'shutdown', { serviceId: '', slot: null }),
    task('attached', 'running', 'running', { serviceId: '', slot: null, nodeId: 'n' }),
  )
  await world.run(2_000)
  const kept = ['attached', 'ended-unseen', 'gone-running', 'placed', 'removed-running']
  t.same(ids(world), kept)
})
