// Goal: a replicated service has as many tasks as it asks for, whatever happens to tasks and nodes.
// Method: a leader in memory with obedient agents, time by hand.

import t from 'tap'
import type { GenericResource } from '../store/specs.ts'
import { nodeObject, serviceObject, taskSpec } from '../store/testing/objects.ts'
import { Leader } from './testing/leader.ts'

const replicas = (Replicas: number) => ({ Mode: { Replicated: { Replicas } } })
const slotsOf = (tasks: readonly { readonly slot: number | null }[]) =>
  tasks.map(({ slot }) => slot!).sort((a, b) => a - b)

t.test('tasks are made, placed and run', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(6))
  t.same(slotsOf(leader.running('web')), [1, 2, 3, 4, 5, 6])
  const perNode = Map.groupBy(leader.running('web'), ({ nodeId }) => nodeId)
  t.same(
    [...perNode.values()].map(({ length }) => length),
    [2, 2, 2],
  )
  t.equal(leader.tasks('web').length, 6)
  t.equal(leader.orchestrator.counters.created, 6)
})

t.test('up: the lowest free numbers; down: from the fullest nodes', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(3))
  await leader.update('web', replicas(5), 1_000)
  t.same(slotsOf(leader.running('web')), [1, 2, 3, 4, 5])
  const kept = new Set(leader.running('web').map(({ id }) => id))
  await leader.update('web', replicas(3), 2_000)
  const left = leader.running('web')
  t.equal(left.length, 3)
  t.equal(new Set(left.map(({ nodeId }) => nodeId)).size, 3, 'one per node')
  t.ok(
    left.every(({ id }) => kept.has(id)),
    'none was made anew',
  )
  t.equal(leader.tasks('web').length, 3, 'the others are taken out')
  await leader.update('web', replicas(0), 2_000)
  t.equal(leader.tasks('web').length, 0)
  await leader.update('web', replicas(2), 1_000)
  t.same(slotsOf(leader.running('web')), [1, 2])
})

t.test('down: first what does not run', async (t) => {
  const leader = await Leader.make(t, 2)
  await leader.create('web', { ...replicas(4) })
  const [stuck] = leader.running('web')
  leader.agents.fate = (task) => (task.slot === stuck!.slot ? 'preparing' : null)
  await leader.end(stuck!)
  await leader.run(1_000)
  await leader.update('web', replicas(3), 1_000)
  t.notOk(slotsOf(leader.running('web')).includes(stuck!.slot!))
  t.equal(leader.running('web').length, 3)
})

t.test('a failed task is followed after the delay, in its slot', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(2))
  const [first] = leader.running('web')
  await leader.end(first!)
  await leader.run(1_000)
  const next = leader.tasks('web').at(-1)!
  t.match(next, { slot: first!.slot, desiredState: 'ready', status: { state: 'ready' } })
  t.match(leader.world.get('tasks', first!.id), { desiredState: 'shutdown' })
  await leader.run(3_500)
  t.equal(leader.running('web').length, 1, 'not before 5 s')
  await leader.run(1_000)
  t.equal(leader.running('web').length, 2)
  t.equal(leader.world.get('tasks', next.id).status.state, 'running')
})

t.test('another delay, and none', async (t) => {
  const leader = await Leader.make(t)
  const TaskTemplate = taskSpec({ RestartPolicy: { Delay: 0 } })
  await leader.create('fast', { ...replicas(1), TaskTemplate })
  await leader.end(leader.running('fast')[0]!)
  await leader.run(200)
  t.equal(leader.running('fast').length, 1)
})

t.test('what cannot be prepared is not tried in a busy loop', async (t) => {
  const leader = await Leader.make(t)
  leader.agents.fate = (task) => (task.status.state === 'preparing' ? 'rejected' : null)
  await leader.create('web', replicas(1), 21_000)
  const { length } = leader.tasks('web')
  t.ok(length >= 5, `${length} tasks in 21 s`)
  t.ok(leader.orchestrator.counters.created <= 7, `${leader.orchestrator.counters.created} made`)
  leader.agents.fate = () => null
  await leader.run(10_100)
  t.equal(leader.running('web').length, 1)
  t.ok(leader.tasks('web').length <= 5, 'history is bounded')
})

t.test('restart conditions', async (t) => {
  const rows = [
    ['any', 'complete', true],
    ['any', 'failed', true],
    ['on-failure', 'complete', false],
    ['on-failure', 'failed', true],
    ['on-failure', 'rejected', true],
    ['none', 'failed', false],
    ['none', 'complete', false],
  ] as const
  for (const [Condition, state, isFollowed] of rows) {
    const leader = await Leader.make(t)
    const TaskTemplate = taskSpec({ RestartPolicy: { Condition, Delay: 0 } })
    await leader.create('web', { ...replicas(2), TaskTemplate })
    await leader.end(leader.running('web')[0]!, state)
    await leader.run(2_000)
    t.equal(leader.running('web').length, isFollowed ? 2 : 1, `${Condition}, ${state}`)
    t.equal(leader.tasks('web').length, isFollowed ? 3 : 2)
    // The slot that is finished counts as filled.
    await leader.update('web', { ...replicas(3), TaskTemplate }, 1_000)
    t.equal(leader.running('web').length, isFollowed ? 3 : 2)
  }
})

t.test('attempts are counted per slot and version, also by a new leader', async (t) => {
  const leader = await Leader.make(t)
  const RestartPolicy = { MaxAttempts: 2, Delay: 0 }
  leader.agents.fate = (task) => (task.status.state === 'running' ? 'failed' : null)
  await leader.create('web', { ...replicas(1), TaskTemplate: taskSpec({ RestartPolicy }) }, 3_000)
  t.equal(leader.tasks('web').length, 3)
  leader.lead()
  await leader.run(3_000)
  t.equal(leader.tasks('web').length, 3)
  const TaskTemplate = taskSpec({ RestartPolicy, ForceUpdate: 1 })
  await leader.update('web', { TaskTemplate }, 3_000)
  t.equal(leader.orchestrator.counters.created, 3, 'a new version has new attempts')
})

t.test('with a window, attempts are forgotten', async (t) => {
  const leader = await Leader.make(t)
  const RestartPolicy = { MaxAttempts: 1, Delay: 0, Window: 10e9 }
  await leader.create('web', { ...replicas(1), TaskTemplate: taskSpec({ RestartPolicy }) })
  await leader.end(leader.running('web')[0]!)
  await leader.run(12_000)
  await leader.end(leader.running('web')[0]!)
  await leader.run(1_000)
  t.equal(leader.running('web').length, 1, 'the first restart is long past')
  await leader.end(leader.running('web')[0]!)
  await leader.run(3_000)
  t.equal(leader.running('web').length, 0)
})

t.test('a node goes down: its tasks run elsewhere at once', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(6))
  await leader.state('n1', 'down')
  await leader.run(500)
  const running = leader.running('web')
  t.equal(running.filter(({ nodeId }) => nodeId !== 'n1').length, 6)
  await leader.state('n1', 'ready')
  await leader.run(500)
  t.equal(leader.running('web').length, 6, 'what still ran there is stopped')
})

t.test(
  'a node goes down while a task of the slot still stops: start-first does not wait',
  async (t) => {
    for (const Order of ['start-first', 'stop-first'] as const) {
      const leader = await Leader.make(t)
      await leader.create('web', { ...replicas(1), UpdateConfig: { Parallelism: 1, Order } })
      leader.agents.stopMs = 8_000
      const TaskTemplate = taskSpec({ ForceUpdate: 1 })
      await leader.update('web', { ...replicas(1), TaskTemplate }, 1_000)
      if (Order === 'stop-first') await leader.run(8_000)
      const [now] = leader.running('web')
      leader.agents.stopMs = 20_000
      await leader.state(now!.nodeId, 'down')
      await leader.run(1_000)
      t.equal(leader.running('web').filter(({ id }) => id !== now!.id).length, 1, Order)
    }
  },
)

t.test('a node is removed: what ran there is orphaned and replaced', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(3))
  const lost = leader.running('web').find(({ nodeId }) => nodeId === 'n2')!
  await leader.world.update((tx) => tx.remove('nodes', 'n2'))
  await leader.run(500)
  t.equal(leader.running('web').length, 3)
  t.equal(leader.world.get('tasks', lost.id).status.state, 'orphaned')
})

t.test('a drained node is left once its tasks have stopped; a paused one keeps them', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(3))
  leader.agents.stopMs = 2_000
  await leader.availability('n1', 'pause')
  await leader.run(1_000)
  t.equal(leader.running('web').length, 3)
  await leader.availability('n1', 'drain')
  await leader.run(1_500)
  t.equal(leader.running('web').length, 2, 'the old one still stops')
  await leader.run(1_000)
  t.same(
    leader.running('web').map(({ nodeId }) => nodeId === 'n1'),
    [false, false, false],
    'no restart delay',
  )
})

t.test('start-first services move start-first from a drained node', async (t) => {
  const leader = await Leader.make(t)
  const UpdateConfig = { Parallelism: 1, Order: 'start-first' } as const
  await leader.create('web', { ...replicas(1), UpdateConfig })
  const [old] = leader.running('web')
  let fewest = 1
  leader.agents.onState = () => {
    const served = leader.tasks('web').filter(({ status }) => status.state === 'running').length
    fewest = Math.min(fewest, served)
  }
  await leader.availability(old!.nodeId, 'drain')
  await leader.run(1_000)
  t.equal(leader.running('web').length, 1)
  t.not(leader.running('web')[0]!.nodeId, old!.nodeId)
  t.equal(leader.world.get('tasks', old!.id).status.state, 'shutdown')
  t.equal(fewest, 1, 'one ran at any time')
})

t.test('an old task that does not stop is waited for, but not for ever', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(1))
  leader.agents.stopMs = 1e9
  await leader.availability(leader.running('web')[0]!.nodeId, 'drain')
  await leader.run(59_000)
  t.equal(leader.running('web').length, 0)
  await leader.run(2_000)
  t.equal(leader.running('web').length, 1)
})

t.test('a removed service: its tasks stop, then it goes', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(3))
  leader.agents.stopMs = 500
  await leader.world.change('services', 'web', (web) => ({ ...web, pendingDelete: true }))
  await leader.run(300)
  t.same(new Set(leader.tasks('web').map(({ desiredState }) => desiredState)), new Set(['remove']))
  t.equal(leader.world.all('services').length, 1)
  await leader.run(2_500)
  t.equal(leader.world.all('services').length, 0)
  t.equal(leader.tasks('web').length, 0)
})

t.test('a task that its node may not have any more is replaced', async (t) => {
  const leader = await Leader.make(t)
  const TaskTemplate = taskSpec({ Placement: { Constraints: ['node.labels.old != yes'] } })
  await leader.create('web', { ...replicas(3), TaskTemplate })
  await leader.node('n1', ({ spec }) => ({ spec: { ...spec, Labels: { old: 'yes' } } }))
  await leader.run(1_000)
  const rejected = leader.tasks('web').find(({ status }) => status.state === 'rejected')
  t.match(rejected, {
    nodeId: 'n1',
    status: {
      message: 'task rejected by constraint enforcer',
      error: 'assigned node no longer meets constraints',
    },
  })
  await leader.run(6_000)
  t.equal(leader.running('web').length, 3)
  t.ok(leader.running('web').every(({ nodeId }) => nodeId !== 'n1'))
})

t.test('a node has the things no more that its tasks were given', async (t) => {
  const named = (Value: string) => ({ NamedResourceSpec: { Kind: 'GPU', Value } })
  const counted = (Kind: string, Value: number) => ({ DiscreteResourceSpec: { Kind, Value } })
  const has = (...genericResources: GenericResource[]) => ({
    description: { ...nodeObject('n1').description!, genericResources },
  })
  const rows = [
    [counted('GPU', 1), has(named('a'), named('b')), has(named('a'))],
    [counted('SSD', 2), has(counted('SSD', 5)), has(counted('SSD', 3))],
  ] as const
  for (const [wanted, before, after] of rows) {
    const leader = await Leader.make(t, 1)
    await leader.node('n1', () => before)
    const Resources = { Reservations: { GenericResources: [wanted] } }
    await leader.create('web', { ...replicas(2), TaskTemplate: taskSpec({ Resources }) })
    t.equal(leader.running('web').length, 2)
    await leader.node('n1', () => after)
    await leader.run(8_000)
    t.equal(leader.running('web').length, 1)
    const [waiting] = leader.tasks('web').filter(({ status }) => status.state === 'pending')
    t.equal(waiting?.status.error, 'no suitable node (insufficient resources on 1 node)')
  }
})

t.test('a task that somebody took out is made again', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('web', replicas(2))
  await leader.world.update((tx) => tx.remove('tasks', leader.running('web')[0]!.id))
  await leader.run(500)
  t.equal(leader.running('web').length, 2)
})

t.test('writes that get lost are made again', async (t) => {
  for (const losing of [1, 2, 3, 5]) {
    const leader = await Leader.make(t)
    await leader.world.add('services', serviceObject('web', replicas(6)))
    // Agents retry by themselves; here only what loops write is lost.
    leader.agents.stop()
    leader.world.losing = losing
    await leader.run(8_000)
    leader.agents.start()
    await leader.run(1_000)
    t.same(slotsOf(leader.running('web')), [1, 2, 3, 4, 5, 6], `${losing} entries lost`)
    t.equal(leader.world.losing, 0)
    t.ok(leader.world.warnings.length > 0)
    await leader.world.change('services', 'web', (web) => ({ ...web, pendingDelete: true }))
    await leader.run(50)
    leader.agents.stop()
    leader.world.losing = losing
    await leader.run(8_000)
    leader.agents.start()
    await leader.run(6_000)
    t.equal(leader.tasks('web').length + leader.world.all('services').length, 0, 'all is gone')
  }
})

t.test('a service that cannot be read keeps no other from its tasks', async (t) => {
  const leader = await Leader.make(t)
  const Placement = { Constraints: [5 as unknown as string] }
  const TaskTemplate = taskSpec({ Placement })
  await leader.create('broken', { Mode: { Global: {} }, TaskTemplate })
  await leader.create('unplaced', { ...replicas(1), TaskTemplate })
  await leader.create('web', replicas(2))
  t.equal(leader.running('web').length, 2)
  t.ok(leader.orchestrator.counters.unplannable > 0)
  t.match(leader.world.warnings.join(), /a service cannot be planned.*tasks cannot be placed/)
})

t.test('a service of absurd size is made pass by pass', async (t) => {
  const leader = await Leader.make(t)
  leader.agents.stop()
  await leader.world.add('services', serviceObject('web', replicas(1e9)))
  await leader.run(20)
  const { length } = leader.tasks('web')
  t.ok(length >= 1_000 && length <= 10_000, `${length} tasks so far`)
  await leader.world.change('services', 'web', (web) => ({ ...web, pendingDelete: true }))
})
