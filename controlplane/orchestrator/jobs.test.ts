// Goal: jobs run to their completions, no more at once than they may, and begin anew with each
// iteration. Method: agents whose tasks complete after a while, or fail, on a leader in memory.

import t from 'tap'
import type { RestartPolicy, ServiceMode } from '../store/specs.ts'
import { nodeObject, taskSpec } from '../store/testing/objects.ts'
import { Leader } from './testing/leader.ts'

const job = (TotalCompletions: number, MaxConcurrent: number, policy: RestartPolicy = {}) => ({
  Mode: { ReplicatedJob: { TotalCompletions, MaxConcurrent } },
  TaskTemplate: taskSpec({ RestartPolicy: { Delay: 0, ...policy } }),
})
const completing = (leader: Leader, afterMs: number): void => {
  leader.agents.fate = (task, inStateMs) =>
    task.status.state === 'running' && inStateMs >= afterMs ? 'complete' : null
}
const inState = (leader: Leader, state: string) =>
  leader.tasks('job').filter(({ status }) => status.state === state)

t.test('so many in all, so many at once, slots from 0', async (t) => {
  const leader = await Leader.make(t)
  completing(leader, 500)
  await leader.create('job', job(5, 2), 0)
  let most = 0
  for (let i = 0; i < 400; i++) {
    await leader.run(10)
    most = Math.max(most, inState(leader, 'running').length)
  }
  t.equal(most, 2)
  t.equal(inState(leader, 'complete').length, 5)
  t.same(
    leader
      .tasks('job')
      .map(({ slot }) => slot)
      .sort(),
    [0, 1, 2, 3, 4],
  )
  t.ok(leader.tasks('job').every(({ desiredState }) => desiredState === 'complete'))
  await leader.run(20_000)
  t.equal(leader.tasks('job').length, 5, 'done is done')
  leader.lead()
  await leader.run(5_000)
  t.equal(leader.tasks('job').length, 5, 'also for a new leader')
})

t.test('a failed task is tried again, as often as allowed', async (t) => {
  const leader = await Leader.make(t)
  const failing = (slots: number) => {
    leader.agents.fate = (task, inStateMs) => {
      if (task.status.state !== 'running') return null
      if (task.slot! < slots) return 'failed'
      return inStateMs > 100 ? 'complete' : null
    }
  }
  failing(1)
  await leader.create('job', job(3, 3, { MaxAttempts: 2 }), 5_000)
  t.equal(inState(leader, 'complete').length, 2)
  t.equal(inState(leader, 'failed').length, 3, 'the first and two more')
  failing(0)
  await leader.run(5_000)
  t.equal(inState(leader, 'complete').length, 2, 'the slot has failed')
})

t.test('conditions: any means on-failure, none means once', async (t) => {
  for (const [Condition, tasks] of [
    ['any', 1],
    ['none', 1],
  ] as const) {
    const leader = await Leader.make(t)
    completing(leader, 0)
    await leader.create('job', job(1, 1, { Condition }), 3_000)
    t.equal(leader.tasks('job').length, tasks)
  }
  const leader = await Leader.make(t)
  leader.agents.fate = ({ status }) => (status.state === 'running' ? 'failed' : null)
  await leader.create('job', job(2, 1, { Condition: 'none' }), 3_000)
  t.same(
    leader.tasks('job').map(({ slot }) => slot),
    [0, 1],
  )
})

t.test('a node dies: its tasks run elsewhere', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('job', job(3, 3))
  await leader.state('n1', 'down')
  await leader.run(500)
  const alive = inState(leader, 'running').filter(({ nodeId }) => nodeId !== 'n1')
  t.equal(alive.length, 3)
})

t.test('an update is a new iteration', async (t) => {
  const leader = await Leader.make(t)
  completing(leader, 200)
  await leader.create('job', job(3, 3), 2_000)
  await leader.update('job', { TaskTemplate: taskSpec({ ForceUpdate: 1 }) }, 4_000)
  t.same(
    inState(leader, 'complete')
      .map(({ jobIteration, slot }) => [jobIteration, slot])
      .sort(),
    [
      [1, 0],
      [1, 1],
      [1, 2],
    ],
  )
  t.equal(leader.tasks('job').length, 3, 'the earlier one is taken out')
  t.equal(leader.service('job').updateStatus, null)
})

t.test('a rollback is a new iteration, too, and no more than that', async (t) => {
  const modes: readonly ServiceMode[] = [
    { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 2 } },
    { GlobalJob: {} },
  ]
  for (const Mode of modes) {
    const leader = await Leader.make(t, 2)
    leader.agents.fate = ({ status }) => (status.state === 'running' ? 'failed' : null)
    const RestartPolicy = { Condition: 'none' } as const
    const spec = { Mode, TaskTemplate: taskSpec({ RestartPolicy }) }
    await leader.create('job', spec, 2_000)
    const TaskTemplate = taskSpec({ RestartPolicy, ForceUpdate: 1 })
    await leader.update('job', { TaskTemplate }, 2_000)
    await leader.rollback('job', 5_000)
    t.same(
      leader.tasks('job').map(({ jobIteration }) => jobIteration),
      [2, 2],
      'what has failed is not tried again',
    )
    t.match(leader.service('job').updateStatus, {
      state: 'rollback_completed',
      message: 'rollback completed',
    })
  }
})

t.test('no history is kept: a job is still not begun again', async (t) => {
  const leader = await Leader.make(t)
  const { id } = leader.world.all('clusters')[0]!
  await leader.world.change('clusters', id, (cluster) => ({
    ...cluster,
    spec: { ...cluster.spec, Orchestration: { TaskHistoryRetentionLimit: 0 } },
  }))
  completing(leader, 100)
  await leader.create('job', job(2, 2), 10_000)
  t.equal(leader.tasks('job').length, 2)
  t.equal(leader.orchestrator.counters.created, 2)
})

t.test('global job: once on each node, also on those that come later', async (t) => {
  const leader = await Leader.make(t)
  completing(leader, 100)
  await leader.create('job', {
    Mode: { GlobalJob: {} },
    TaskTemplate: taskSpec({ Placement: { Constraints: ['node.id!=n2'] } }),
  })
  t.same(
    inState(leader, 'complete')
      .map(({ nodeId }) => nodeId)
      .sort(),
    ['n1', 'n3'],
  )
  await leader.world.add('nodes', nodeObject('n4'))
  await leader.run(1_000)
  t.same(
    inState(leader, 'complete')
      .map(({ nodeId }) => nodeId)
      .sort(),
    ['n1', 'n3', 'n4'],
  )
  await leader.availability('n1', 'drain')
  await leader.availability('n1', 'active')
  await leader.run(2_000)
  t.equal(leader.tasks('job').length, 3, 'what completed is not run again')
  await leader.update('job', { TaskTemplate: taskSpec({ ForceUpdate: 1 }) }, 3_000)
  t.equal(inState(leader, 'complete').length, 4)
})
