// Goal: pending tasks get nodes, explanations and second chances. Method: a store in memory, time
// by hand, tasks that the allocator is done with.

import t, { type Test } from 'tap'
import { LoopWorld } from '../store/testing/loops.ts'
import { nodeObject, taskObject, taskSpec } from '../store/testing/objects.ts'
import { TASKS_PER_PASS } from './limits.ts'
import { Scheduler } from './scheduler.ts'

async function schedulerOver(t: Test, nodes: readonly string[]) {
  const world = new LoopWorld()
  const scheduler = new Scheduler(world.context)
  await world.add('nodes', ...nodes.map((id) => nodeObject(id)))
  world.start(scheduler)
  t.teardown(() => world.stop())
  return { world, scheduler }
}

t.test('a task is given a node at once', async (t) => {
  const { world, scheduler } = await schedulerOver(t, ['a', 'b'])
  await world.add('tasks', taskObject('t1'), taskObject('t2', { slot: 2 }))
  await world.run(1)
  const tasks = world.all('tasks')
  t.same(tasks.map(({ nodeId }) => nodeId).sort(), ['a', 'b'])
  t.same([...new Set(tasks.map(({ status }) => status.state))], ['assigned'])
  t.equal(tasks[0]!.status.message, 'scheduler assigned task to node')
  t.equal(scheduler.counters.assigned, 2)
})

t.test('tasks that are not to be placed are left alone', async (t) => {
  const { world } = await schedulerOver(t, ['a'])
  const status = taskObject('x').status
  await world.add(
    'tasks',
    taskObject('new', { status: { ...status, state: 'new' } }),
    taskObject('over', { desiredState: 'shutdown' }),
    taskObject('removed', { desiredState: 'remove' }),
  )
  await world.run(2_000)
  t.same(new Set(world.all('tasks').map(({ nodeId }) => nodeId)), new Set(['']))
})

t.test('nobody suits: the task says why, and is placed when somebody does', async (t) => {
  const { world, scheduler } = await schedulerOver(t, ['a', 'b'])
  const spec = taskSpec({ Placement: { Constraints: ['node.labels.disk==ssd'] } })
  await world.add('tasks', taskObject('t1', { spec }))
  await world.run(300)
  t.equal(
    world.get('tasks', 't1').status.error,
    'no suitable node (scheduling constraints not satisfied on 2 nodes)',
  )
  t.equal(world.get('tasks', 't1').status.state, 'pending')
  t.equal(scheduler.counters.waiting, 1)
  const before = world.store.index
  await world.change('nodes', 'a', (node) => ({ ...node, role: 'manager' }))
  await world.run(300)
  t.equal(world.store.index, before + 1, 'the same explanation is not written again')
  await world.change('nodes', 'b', (node) => ({
    ...node,
    spec: { ...node.spec, Labels: { disk: 'ssd' } },
  }))
  await world.run(300)
  t.match(world.get('tasks', 't1'), { nodeId: 'b', status: { state: 'assigned', error: '' } })
  t.equal(scheduler.counters.waiting, 0)
})

t.test('no node at all', async (t) => {
  const { world } = await schedulerOver(t, [])
  await world.add('tasks', taskObject('t1'))
  await world.run(300)
  t.equal(world.get('tasks', 't1').status.error, 'no suitable node')
})

t.test('an ended task makes room', async (t) => {
  const { world } = await schedulerOver(t, ['a'])
  const spec = taskSpec({ Resources: { Reservations: { NanoCPUs: 3e9 } } })
  await world.add('tasks', taskObject('t1', { spec }), taskObject('t2', { spec, slot: 2 }))
  await world.run(300)
  t.equal(
    world.get('tasks', 't2').status.error,
    'no suitable node (insufficient resources on 1 node)',
  )
  await world.change('tasks', 't1', (task) => ({
    ...task,
    status: { ...task.status, state: 'failed' },
  }))
  await world.run(300)
  t.equal(world.get('tasks', 't2').nodeId, 'a')
})

t.test(
  'a task that is told to stop leaves its place among the replicas, and keeps what it holds',
  async (t) => {
    const { world } = await schedulerOver(t, ['a'])
    const spec = taskSpec({
      Placement: { MaxReplicas: 1 },
      Resources: { Reservations: { NanoCPUs: 1.5e9 } },
    })
    const like = (id: string, slot: number) => taskObject(id, { spec, slot })
    await world.add('tasks', like('t1', 1), like('t2', 2), like('t3', 3))
    await world.run(300)
    t.equal(world.get('tasks', 't1').nodeId, 'a')
    t.match(world.get('tasks', 't2').status.error, /max replicas/)
    const stop = (id: string) =>
      world.change('tasks', id, (task) => ({ ...task, desiredState: 'shutdown' }))
    await stop('t1')
    await world.run(300)
    t.equal(world.get('tasks', 't2').nodeId, 'a', 'while it still runs')
    await stop('t2')
    await world.run(300)
    t.match(world.get('tasks', 't3').status.error, /insufficient resources/)
  },
)

t.test('a task of a global service is only checked', async (t) => {
  const { world } = await schedulerOver(t, ['a'])
  const spec = taskSpec({ Resources: { Reservations: { NanoCPUs: 5e9 } } })
  await world.add(
    'tasks',
    taskObject('fits', { slot: null, nodeId: 'a' }),
    taskObject('large', { slot: null, nodeId: 'a', spec, serviceId: 'db' }),
  )
  await world.run(300)
  t.equal(
    world.get('tasks', 'fits').status.message,
    'scheduler confirmed task can run on preassigned node',
  )
  t.match(world.get('tasks', 'large').status, {
    state: 'pending',
    error: 'insufficient resources on 1 node',
  })
})

t.test('a node that went while the decision was written', async (t) => {
  const { world, scheduler } = await schedulerOver(t, ['a'])
  await world.add('tasks', taskObject('t1'))
  // Both are in the store's queue: the drain comes first.
  world.timers.advance(0)
  const drain = world.change('nodes', 'a', (node) => ({
    ...node,
    spec: { ...node.spec, Availability: 'drain' },
  }))
  await drain
  await world.run(500)
  const task = world.get('tasks', 't1')
  t.ok(
    task.nodeId === 'a' || task.status.error.includes('not available'),
    `${task.nodeId} ${task.status.error}`,
  )
  t.ok(scheduler.counters.assigned + scheduler.counters.waiting === 1)
})

t.test('more tasks than a pass takes; nodes are filled evenly and never over', async (t) => {
  const nodes = Array.from({ length: 10 }, (_, i) => `n${i}`)
  const { world } = await schedulerOver(t, nodes)
  const count = 2 * TASKS_PER_PASS + 500
  const spec = taskSpec({ Resources: { Reservations: { NanoCPUs: 4e9 / (count / 10) } } })
  const tasks = Array.from({ length: count + 5 }, (_, i) =>
    taskObject(`t${i}`, { slot: i + 1, spec }),
  )
  await world.store.batch(tasks.map((task) => (tx) => tx.create('tasks', task)))
  await world.run(1_000, 50)
  for (const id of nodes) {
    const on = world.store.view((tx) => tx.find('tasks', 'node', id))
    t.equal(on.length, count / 10)
  }
  t.equal(world.all('tasks').filter(({ status }) => status.error !== '').length, 5)
})

t.test('a new leader counts what runs', async (t) => {
  const world = new LoopWorld()
  const spec = taskSpec({ Placement: { MaxReplicas: 1 } })
  const status = { ...taskObject('x').status, state: 'running' } as const
  await world.add('nodes', nodeObject('a'), nodeObject('b'))
  await world.add(
    'tasks',
    taskObject('t1', { spec, status, nodeId: 'a' }),
    taskObject('t2', { spec }),
  )
  world.start(new Scheduler(world.context))
  t.teardown(() => world.stop())
  await world.run(100)
  t.equal(world.get('tasks', 't2').nodeId, 'b')
})

t.test('a stopped scheduler does nothing', async (t) => {
  const { world } = await schedulerOver(t, ['a'])
  world.stop()
  await world.add('tasks', taskObject('t1'))
  await world.run(2_000)
  t.equal(world.get('tasks', 't1').nodeId, '')
})
