// Goal: a global service is on every node that it may be on, and nowhere else. Method: nodes that
// come, go, are drained, paused and labelled, on a leader in memory.

import t from 'tap'
import { nodeObject, taskSpec } from '../store/testing/objects.ts'
import { Leader } from './testing/leader.ts'

const GLOBAL = { Mode: { Global: {} } }
const nodesOf = (leader: Leader) =>
  leader
    .running('agent')
    .map(({ nodeId }) => nodeId)
    .sort()

t.test('one per node, also on nodes that come later', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('agent', GLOBAL)
  t.same(nodesOf(leader), ['n1', 'n2', 'n3'])
  t.ok(leader.tasks('agent').every(({ slot }) => slot === null))
  await leader.world.add('nodes', nodeObject('n4'))
  await leader.run(500)
  t.same(nodesOf(leader), ['n1', 'n2', 'n3', 'n4'])
  t.equal(leader.tasks('agent').length, 4)
})

t.test('drained, down, removed; and back', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('agent', GLOBAL)
  await leader.availability('n1', 'drain')
  await leader.state('n2', 'down')
  await leader.run(500)
  t.same(nodesOf(leader), ['n3'])
  leader.agents.stopMs = 300
  await leader.availability('n1', 'active')
  await leader.state('n2', 'ready')
  await leader.run(200)
  t.notOk(nodesOf(leader).includes('n2'), 'the old one stops first')
  await leader.run(800)
  t.same(nodesOf(leader), ['n1', 'n2', 'n3'])
  await leader.world.update((tx) => tx.remove('nodes', 'n3'))
  await leader.run(500)
  t.same(nodesOf(leader), ['n1', 'n2'])
  await leader.run(3_000)
  t.notOk(
    leader.tasks('agent').some(({ nodeId }) => nodeId === 'n3'),
    'nor is its history kept',
  )
})

t.test('a paused node keeps what it has and gets nothing', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('agent', GLOBAL)
  await leader.availability('n1', 'pause')
  await leader.world.add(
    'nodes',
    nodeObject('n4', { spec: { Labels: {}, Role: 'worker', Availability: 'pause' } }),
  )
  await leader.run(500)
  t.same(nodesOf(leader), ['n1', 'n2', 'n3'])
  await leader.update('agent', { TaskTemplate: taskSpec({ ForceUpdate: 1 }) }, 10_000)
  const old = leader.running('agent').filter(({ spec }) => spec.ForceUpdate === 0)
  t.same(
    old.map(({ nodeId }) => nodeId),
    ['n1'],
  )
  await leader.availability('n4', 'active')
  await leader.run(500)
  t.same(nodesOf(leader), ['n1', 'n2', 'n3', 'n4'])
})

t.test('constraints, as labels change', async (t) => {
  const leader = await Leader.make(t)
  const TaskTemplate = taskSpec({ Placement: { Constraints: ['node.labels.disk==ssd'] } })
  await leader.create('agent', { ...GLOBAL, TaskTemplate })
  t.same(nodesOf(leader), [])
  const label = (disk: string) =>
    leader.node('n2', ({ spec }) => ({ spec: { ...spec, Labels: { disk } } }))
  await label('ssd')
  await leader.run(500)
  t.same(nodesOf(leader), ['n2'])
  await label('hdd')
  await leader.run(500)
  t.same(nodesOf(leader), [])
  t.equal(leader.tasks('agent').length, 1)
})

t.test('restarts in place, with delay; updates at their pace', async (t) => {
  const leader = await Leader.make(t)
  await leader.create('agent', { ...GLOBAL, UpdateConfig: { Parallelism: 1, Delay: 1e9 } })
  await leader.end(leader.running('agent').find(({ nodeId }) => nodeId === 'n2')!)
  await leader.run(4_000)
  t.same(nodesOf(leader), ['n1', 'n3'])
  await leader.run(1_500)
  t.same(nodesOf(leader), ['n1', 'n2', 'n3'])
  await leader.update('agent', { TaskTemplate: taskSpec({ ForceUpdate: 1 }) }, 1_500)
  const fresh = () => leader.running('agent').filter(({ spec }) => spec.ForceUpdate === 1).length
  t.equal(fresh(), 2)
  await leader.run(10_000)
  t.equal(fresh(), 3)
  t.equal(leader.service('agent').updateStatus!.state, 'completed')
})

t.test('a task that ended for good stays so, until the spec changes', async (t) => {
  const leader = await Leader.make(t, 2)
  const RestartPolicy = { Condition: 'none' } as const
  await leader.create('agent', { ...GLOBAL, TaskTemplate: taskSpec({ RestartPolicy }) })
  await leader.end(leader.running('agent')[0]!, 'complete')
  await leader.run(10_000)
  t.equal(nodesOf(leader).length, 1)
  await leader.update('agent', { TaskTemplate: taskSpec({ RestartPolicy, ForceUpdate: 1 }) }, 2_000)
  t.equal(nodesOf(leader).length, 2)
})
