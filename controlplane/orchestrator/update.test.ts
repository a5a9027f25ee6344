// Goal: updates and rollbacks spread at the pace, in the order and with the outcome that their
// config asks for, and say so in Swarm's words. Method: one scenario per parameter on a leader in
// memory; the number of tasks that run is watched all along.

import t from 'tap'
import type { ServiceSpec, UpdateConfig } from '../store/specs.ts'
import { taskSpec } from '../store/testing/objects.ts'
import { Leader } from './testing/leader.ts'

const image = (Image: string, more: Parameters<typeof taskSpec>[0] = {}) => ({
  TaskTemplate: taskSpec({ ContainerSpec: { Image }, ...more }),
})
const of = (Replicas: number, config: Partial<UpdateConfig> = {}): Partial<ServiceSpec> => ({
  Mode: { Replicated: { Replicas } },
  UpdateConfig: { Parallelism: 1, ...config },
  ...image('web:1'),
})
const imagesOf = (leader: Leader) =>
  leader
    .running('web')
    .map(({ spec }) => spec.ContainerSpec!.Image)
    .sort()
const statusOf = (leader: Leader) => leader.service('web').updateStatus
/** Tasks with this image fail as soon as they run. */
const failing = (leader: Leader, ...images: string[]): void => {
  leader.agents.fate = (task) =>
    images.includes(task.spec.ContainerSpec!.Image) && task.status.state === 'starting'
      ? 'failed'
      : null
}

/** Runs `ms` and says how few and how many tasks ran, or were there at all, at any moment. */
async function watched(leader: Leader, ms: number) {
  let [fewest, most] = [Number.POSITIVE_INFINITY, 0]
  for (let i = 0; i < ms; i += 10) {
    await leader.run(10)
    const running = leader.tasks('web').filter(({ status }) => status.state === 'running').length
    fewest = Math.min(fewest, running)
    most = Math.max(most, running)
  }
  return { fewest, most }
}

t.test('one after the other, stop-first', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(3))
  await leader.update('web', image('web:2'))
  await leader.run(100)
  t.match(statusOf(leader), { state: 'updating', message: 'update in progress', completedMs: null })
  t.same(await watched(leader, 2_000), { fewest: 2, most: 3 })
  t.same(imagesOf(leader), ['web:2', 'web:2', 'web:2'])
  t.equal(statusOf(leader)!.state, 'updating', 'still watched')
  await leader.run(5_000)
  t.match(statusOf(leader), { state: 'completed', message: 'update completed' })
  t.ok(statusOf(leader)!.completedMs! > statusOf(leader)!.startedMs)
  t.equal(leader.orchestrator.counters.updatesCompleted, 1)
})

t.test('start-first: the new one runs before the old one stops', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(3, { Order: 'start-first' }))
  await leader.update('web', image('web:2'))
  t.same(await watched(leader, 2_000), { fewest: 3, most: 4 })
  t.same(imagesOf(leader), ['web:2', 'web:2', 'web:2'])
})

t.test('parallelism, and all at once', async (t) => {
  for (const [Parallelism, fewest] of [
    [2, 2],
    [0, 0],
  ] as const) {
    const leader = await Leader.make(t)
    await leader.create('web', of(4, { Parallelism }))
    await leader.update('web', image('web:2'))
    t.equal((await watched(leader, 1_500)).fewest, fewest, `parallelism ${Parallelism}`)
    t.same(imagesOf(leader), ['web:2', 'web:2', 'web:2', 'web:2'])
  }
})

t.test('the delay lies between slots, and lengthens the watch', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(2, { Delay: 10e9, Monitor: 1e9 }))
  await leader.update('web', image('web:2'), 9_000)
  t.same(imagesOf(leader), ['web:1', 'web:2'])
  await leader.run(2_000)
  t.same(imagesOf(leader), ['web:2', 'web:2'])
  await leader.run(9_000)
  t.equal(statusOf(leader)!.state, 'updating')
  await leader.run(3_000)
  t.equal(statusOf(leader)!.state, 'completed')
})

t.test('a failure pauses the update', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(3))
  failing(leader, 'bad')
  await leader.update('web', image('bad'), 1_000)
  const [failed] = leader.tasks('web').filter(({ status }) => status.state === 'failed')
  t.match(statusOf(leader), {
    state: 'paused',
    message: `update paused due to failure or early termination of task ${failed!.id}`,
  })
  await leader.run(20_000)
  t.same(imagesOf(leader), ['web:1', 'web:1'], 'the others are left alone')
  t.equal(leader.orchestrator.counters.updatesPaused, 1)
  await leader.update('web', image('web:2'), 10_000)
  t.equal(statusOf(leader)!.state, 'completed', 'a new update goes on')
  t.same(imagesOf(leader), ['web:2', 'web:2', 'web:2'])
})

t.test('only an early end is a failure', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(2, { Monitor: 3e9 }))
  const dying = (afterMs: number) => {
    leader.agents.fate = (task, inStateMs) =>
      task.spec.ContainerSpec!.Image === 'short' &&
      task.status.state === 'running' &&
      inStateMs >= afterMs
        ? 'complete'
        : null
  }
  dying(3_500)
  await leader.update('web', image('short'), 8_000)
  t.equal(statusOf(leader)!.state, 'completed')
  await leader.update('web', image('web:1'), 8_000)
  dying(2_500)
  await leader.update('web', image('short'), 8_000)
  t.equal(statusOf(leader)!.state, 'paused')
})

t.test('a share of failures is borne', async (t) => {
  for (const [MaxFailureRatio, state] of [
    [0.5, 'completed'],
    [0.4, 'paused'],
  ] as const) {
    const leader = await Leader.make(t)
    await leader.create('web', of(4, { MaxFailureRatio, Parallelism: 4 }))
    leader.agents.fate = (task) =>
      task.spec.ContainerSpec!.Image === 'half' &&
      task.slot! <= 2 &&
      task.status.state === 'starting'
        ? 'failed'
        : null
    await leader.update('web', image('half'), 8_000)
    t.equal(statusOf(leader)!.state, state, `2 of 4 with ${MaxFailureRatio}`)
  }
})

t.test('failure action continue', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(3, { FailureAction: 'continue' }))
  failing(leader, 'bad')
  await leader.update('web', image('bad'), 12_000)
  t.equal(statusOf(leader)!.state, 'completed')
  t.same(imagesOf(leader), [])
})

t.test('failure action rollback', async (t) => {
  const leader = await Leader.make(t)
  const RollbackConfig = { Parallelism: 0, Monitor: 2e9 }
  await leader.create('web', { ...of(3, { FailureAction: 'rollback' }), RollbackConfig })
  const { spec, specVersion } = leader.service('web')
  const kept = leader.running('web').map(({ id }) => id)
  failing(leader, 'bad')
  await leader.update('web', image('bad'), 200)
  const [failed] = leader.tasks('web').filter(({ status }) => status.state === 'failed')
  t.match(statusOf(leader), {
    state: 'rollback_started',
    message: `update rolled back due to failure or early termination of task ${failed!.id}`,
  })
  t.match(leader.service('web'), { spec, specVersion, previousSpec: null })
  await leader.run(4_000)
  t.match(statusOf(leader), { state: 'rollback_completed', message: 'rollback completed' })
  t.same(imagesOf(leader), ['web:1', 'web:1', 'web:1'])
  t.equal(leader.running('web').filter(({ id }) => kept.includes(id)).length, 2, 'two never moved')
  t.equal(leader.orchestrator.counters.updatesRolledBack, 1)
})

t.test('a rollback that fails pauses, whatever its action', async (t) => {
  const leader = await Leader.make(t)
  const RollbackConfig = { Parallelism: 1, FailureAction: 'rollback' } as const
  await leader.create('web', { ...of(2, { FailureAction: 'rollback' }), RollbackConfig })
  failing(leader, 'bad', 'web:1')
  await leader.update('web', image('bad'), 3_000)
  t.equal(statusOf(leader)!.state, 'rollback_paused')
  t.match(statusOf(leader)!.message, /^rollback paused due to failure or early termination of task/)
})

t.test('start-first that fails: the old ones go on', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(2, { Order: 'start-first', FailureAction: 'rollback' }))
  const kept = leader.running('web').map(({ id }) => id)
  failing(leader, 'bad')
  await leader.update('web', image('bad'))
  t.same(await watched(leader, 10_000), { fewest: 2, most: 2 })
  t.same(
    leader.running('web').map(({ id }) => id),
    kept,
  )
  t.equal(statusOf(leader)!.state, 'rollback_completed')
})

t.test('a rollback on request uses the rollback config', async (t) => {
  const leader = await Leader.make(t)
  const RollbackConfig = { Parallelism: 2, Order: 'start-first', Monitor: 1e9 } as const
  await leader.create('web', { ...of(2), RollbackConfig })
  await leader.update('web', image('web:2'), 9_000)
  await leader.rollback('web')
  t.match(statusOf(leader), { message: 'manually requested rollback' })
  t.same(await watched(leader, 3_000), { fewest: 2, most: 4 })
  t.same(imagesOf(leader), ['web:1', 'web:1'])
  t.equal(statusOf(leader)!.state, 'rollback_completed')
})

t.test('a new update takes the place of the one under way', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(4, { Delay: 1e9 }))
  await leader.update('web', image('web:2'), 1_500)
  t.ok(imagesOf(leader).includes('web:2'))
  await leader.update('web', image('web:3'), 12_000)
  t.same(imagesOf(leader), ['web:3', 'web:3', 'web:3', 'web:3'])
  t.equal(statusOf(leader)!.state, 'completed')
})

t.test('a new leader goes on', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(4, { Delay: 1e9 }))
  await leader.update('web', image('web:2'), 1_500)
  leader.lead()
  await leader.run(12_000)
  t.same(imagesOf(leader), ['web:2', 'web:2', 'web:2', 'web:2'])
  t.equal(statusOf(leader)!.state, 'completed')
})

t.test('scaling during an update, and updates that move nothing', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(3, { Delay: 1e9 }))
  await leader.update('web', { Labels: { a: 'b' } }, 1_000)
  t.equal(statusOf(leader), null)
  t.equal(leader.tasks('web').length, 3)
  await leader.update('web', { ...image('web:2'), Mode: { Replicated: { Replicas: 5 } } }, 12_000)
  t.same(imagesOf(leader), Array(5).fill('web:2'))
  await leader.update('web', { ...image('web:3'), Mode: { Replicated: { Replicas: 2 } } }, 12_000)
  t.same(imagesOf(leader), Array(2).fill('web:3'))
  t.equal(statusOf(leader)!.state, 'completed')
})

t.test('tasks that ended for good are updated too', async (t) => {
  const leader = await Leader.make(t)
  const none = { RestartPolicy: { Condition: 'none' } } as const
  await leader.create('web', { ...of(2), ...image('web:1', none) })
  await leader.end(leader.running('web')[0]!, 'complete')
  await leader.run(1_000)
  await leader.update('web', image('web:2', none), 2_000)
  t.same(imagesOf(leader), ['web:2', 'web:2'])
})

t.test('tasks that end for good are not made anew for as long as a rollback takes', async (t) => {
  const leader = await Leader.make(t)
  leader.agents.fate = ({ spec, status }) =>
    spec.ContainerSpec!.Image === 'web:1' && status.state === 'running' ? 'complete' : null
  const RestartPolicy = { Condition: 'none' } as const
  const RollbackConfig = { Parallelism: 1, Delay: 2e9, FailureAction: 'continue' } as const
  await leader.create('web', { ...of(3), RollbackConfig, ...image('web:1', { RestartPolicy }) })
  await leader.update('web', image('web:2', { RestartPolicy }), 10_000)
  t.same(imagesOf(leader), ['web:2', 'web:2', 'web:2'])
  const { created } = leader.orchestrator.counters
  await leader.rollback('web', 20_000)
  t.equal(leader.orchestrator.counters.created - created, 3, 'one for each slot')
  t.equal(statusOf(leader)!.state, 'rollback_completed')
})

t.test('a failing service is mended by an update at once', async (t) => {
  const leader = await Leader.make(t)
  failing(leader, 'web:1')
  await leader.create('web', of(2), 7_000)
  t.same(imagesOf(leader), [])
  await leader.update('web', image('web:2'), 1_000)
  t.same(imagesOf(leader), ['web:2', 'web:2'])
})

t.test('a node that dies in the middle', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', of(6, { Delay: 5e8 }))
  await leader.update('web', image('web:2'), 1_000)
  await leader.state('n1', 'down')
  await leader.run(12_000)
  t.same(imagesOf(leader), Array(6).fill('web:2'))
  t.equal(statusOf(leader)!.state, 'completed')
})
