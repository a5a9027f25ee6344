// Goal: every node has exactly its share of the cluster, whatever happens and in whatever order.
// Method: a dispatcher over a store of its own, with the time moved by hand, and agents that check
// each message for sequence and hash.

import t from 'tap'
import { prng } from '../../base/prng.ts'
import { TestAgent } from './testing/agent.ts'
import { network, service, task } from './testing/objects.ts'
import { on, scene } from './testing/scene.ts'

t.test('another ingress network, while a task is on the one that was removed', async (t) => {
  const s = await scene(['a', 'b'])
  const [a, b] = ['a', 'b'].map((id) => s.agent(id).register().listen()) as [TestAgent, TestAgent]
  const ingress = (id: string) =>
    network(id, { spec: { Name: id, Labels: {}, Driver: 'overlay', Ingress: true } })
  await s.write((tx) => {
    tx.create('networks', ingress('n8'))
    tx.create('tasks', task('t1', 'running', 'a', [on('n8', '10.0.8.3')]))
  })
  await s.pass(300, [a, b])
  t.equal(b.items.all('network').get('n8')?.ingress, true)
  await s.write((tx) => {
    tx.update('networks', { ...tx.get('networks', 'n8')!, pendingDelete: true })
    tx.create('networks', ingress('n9'))
  })
  await s.pass(300, [a, b])
  const ingressesOf = ({ items }: TestAgent) =>
    [...items.all('network').values()].filter((item) => item.ingress).map(({ id }) => id)
  t.same([...a.items.all('network').keys()].sort(), ['n8', 'n9'])
  t.same([...b.items.all('network').keys()], ['n9'])
  t.same([ingressesOf(a), ingressesOf(b)], [['n9'], ['n9']])
  s.dispatcher.stop()
  const second = s.another()
  second.start()
  t.teardown(() => second.stop())
  const again = new TestAgent(second, 'a').register().listen() as TestAgent
  await s.pass(300, [again])
  t.same(ingressesOf(again), ['n9'], 'also under another leader')
})

t.test('networks', async (t) => {
  const s = await scene(['a', 'b', 'c'])
  const agents = ['a', 'b', 'c'].map((id) => s.agent(id).register().listen()) as TestAgent[]
  const [a, b, c] = agents as [TestAgent, TestAgent, TestAgent]
  const ingress = network('n9', {
    spec: { Name: 'ingress', Labels: {}, Driver: 'overlay', Ingress: true },
  })
  const port = {
    Protocol: 'tcp',
    TargetPort: 80,
    PublishedPort: 8080,
    PublishMode: 'ingress',
  } as const
  await s.write((tx) => {
    tx.create(
      'services',
      service('web', {
        endpoint: {
          spec: {},
          ports: [port],
          virtualIps: [{ networkId: 'n1', address: '10.0.1.2/24' }],
        },
      }),
    )
    tx.create('networks', network('n1'))
    tx.create('networks', ingress)
    tx.create('tasks', task('t1', 'running', 'a', [on('n1', '10.0.1.3'), on('n9', '10.0.9.3')]))
    tx.create('tasks', task('t2', 'starting', 'b', [on('n1', '10.0.1.4')], { slot: 2 }))
  })
  await s.pass(300, agents)
  t.same([...a.items.all('network').keys()].sort(), ['n1', 'n9'])
  t.same([...c.items.all('network').keys()], ['n9'], 'only the ingress where no task is')
  t.same([...c.items.all('endpoint').keys()], ['t1.n9'])
  t.same(a.items.all('endpoint').get('t2.n1')?.state, 'idle')
  t.same(b.items.all('endpoint').get('t1.n1')?.addresses, ['10.0.1.3'])
  t.same(b.items.all('service').get('web.n1')?.vips, ['10.0.1.2'])
  t.same(c.items.all('service').get('web.n9')?.ports, [port])
  t.same(b.items.all('service').get('web.n1')?.ports, [])

  await s.write((tx) =>
    tx.create('tasks', task('t3', 'assigned', 'c', [on('n1', '10.0.1.5')], { slot: 3 })),
  )
  await s.pass(300, agents)
  t.same([...c.items.all('endpoint').keys()].sort(), ['t1.n1', 't1.n9', 't2.n1', 't3.n1'])
  c.status('t3', 'failed')
  await s.pass(300, agents)
  t.same([...c.items.all('endpoint').keys()], ['t1.n9'], 'and all of it goes with the task')
  t.same([...c.items.all('network').keys()], ['n9'])

  await s.pass(3_500, [b, c])
  t.same([...b.items.all('endpoint').keys()], ['t2.n1'], 'a dead node leaves all tables')
  a.register().listen()
  await s.pass(300, agents)
  t.ok(b.items.all('endpoint').has('t1.n1'), 'and comes back')

  await s.write((tx) => tx.remove('networks', 'n9'))
  await s.pass(300, agents)
  t.notOk(c.items.all('network').has('n9'))
  s.dispatcher.stop()
})

t.test('a stream that stalls costs nothing, and gets everything afterwards', async (t) => {
  const s = await scene(['a'])
  const a = s.agent('a').register().listen()
  await s.pass(200, [a])
  a.hasRoom = false
  await s.write((tx) => tx.create('tasks', task('t1', 'assigned', 'a')))
  await s.pass(200, [a])
  const count = a.messages.length
  for (let i = 2; i < 10; i++) {
    await s.write((tx) => tx.create('tasks', task(`t${i}`, 'assigned', 'a', [], { slot: i })))
    await s.pass(200, [a])
  }
  t.equal(a.messages.length, count)
  a.drain()
  await s.pass(200, [a])
  t.equal(a.messages.at(-1)?.type, 'COMPLETE')
  t.equal(a.items.all('task').size, 9)
  s.dispatcher.stop()
})

t.test('a large set comes in parts', async (t) => {
  const s = await scene(['a'])
  for (let i = 0; i < 6; i++) {
    await s.write((tx) => {
      const Env = [`X=${'x'.repeat(400_000)}`]
      const spec = {
        ContainerSpec: { Image: 'i', Env },
        ForceUpdate: 0,
        Runtime: 'container',
      } as const
      tx.create('tasks', task(`t${i}`, 'assigned', 'a', [], { spec, slot: i + 1 }))
    })
  }
  const a = s.agent('a').register().listen()
  await s.pass(200, [a])
  t.ok(a.messages.length >= 3)
  t.same(a.messages.map(({ more }) => more).at(-1), false)
  t.equal(a.items.all('task').size, 6)
  t.equal(a.messages.flatMap(({ observed }) => observed).length, 6)
  s.dispatcher.stop()
})

t.test('acknowledged drain', async (t) => {
  const s = await scene(['a', 'b', 'c', 'd'])
  const agents = ['a', 'b', 'c', 'd'].map((id) => s.agent(id).register().listen()) as TestAgent[]
  const [a, b, , d] = agents as [TestAgent, TestAgent, TestAgent, TestAgent]
  await s.write((tx) => {
    tx.create('networks', network('n1'))
    tx.create('tasks', task('t1', 'running', 'a', [on('n1', '10.0.1.3')]))
    tx.create('tasks', task('t2', 'running', 'b', [on('n1', '10.0.1.4')], { slot: 2 }))
    tx.create('tasks', task('t3', 'running', 'd', [on('n1', '10.0.1.5')], { slot: 3 }))
  })
  await s.pass(300, agents)
  const stop = (id: string): Promise<void> =>
    s.write((tx) => tx.update('tasks', { ...tx.get('tasks', id)!, desiredState: 'shutdown' }))
  const appliedOf = new Map(agents.map((one) => [one, one.items.version]))
  const late = (one: TestAgent): void => void one.beat({ applied: appliedOf.get(one)! })

  await stop('t1')
  for (let i = 0; i < 4; i++) {
    for (const one of agents) late(one)
    await s.pass(50)
  }
  t.equal(b.items.all('endpoint').get('t1.n1')?.state, 'draining')
  t.notOk(a.items.all('drained').has('t1'), 'nobody has said that it forwards so')
  a.beat()
  b.beat()
  d.beat({ draining: [{ taskId: 't1', flows: 3 }] })
  for (const one of agents) if (one !== a && one !== b && one !== d) late(one)
  await s.pass(50)
  t.equal(a.items.all('drained').get('t1')?.isIdle, false, 'somebody has flows open')
  d.beat({ draining: [{ taskId: 't1', flows: 0 }] })
  await s.pass(50)
  t.ok(a.items.all('drained').get('t1')?.isIdle, 'nodes that are not on the network do not count')
  a.status('t1', 'shutdown')
  await s.pass(200, agents)
  t.notOk(a.items.all('drained').has('t1'))
  t.equal(s.dispatcher.counts.drains, 0)

  await stop('t2')
  await s.pass(50, [a, b])
  d.beat({ draining: [{ taskId: 't2', flows: 1 }] })
  await s.pass(200, [a, b])
  t.notOk(b.items.all('drained').get('t2')?.isIdle)
  await s.pass(3_500, [a, b])
  t.ok(b.items.all('drained').get('t2')?.isIdle, 'the dead hold up nobody')
  s.dispatcher.stop()
})

t.test('whatever happens, every node has its share', async (t) => {
  const s = await scene(['a', 'b', 'c'])
  const random = prng(42)
  const agents = [...s.agents.values()]
  for (const one of agents) one.register().listen()
  await s.write((tx) => {
    for (let i = 1; i <= 3; i++) tx.create('networks', network(`n${i}`))
  })
  const states = ['assigned', 'starting', 'running', 'complete', 'failed'] as const
  for (let step = 0; step < 300; step++) {
    await s.write((tx) => {
      const id = `t${random.below(12)}`
      const old = tx.get('tasks', id)
      if (old === undefined) {
        const nets = [1, 2, 3].filter(() => random.below(2) === 0)
        const networks = nets.map((n) => on(`n${n}`, `10.0.${n}.${10 + random.below(200)}`))
        tx.create('tasks', task(id, 'assigned', 'abc'[random.below(3)]!, networks))
      } else if (random.below(4) === 0) {
        tx.remove('tasks', id)
      } else {
        const state = states[random.below(states.length)]!
        tx.update('tasks', {
          ...old,
          status: { ...old.status, state, isServing: state === 'running' },
        })
      }
    })
    const one = agents[random.below(3)]!
    if (random.below(10) === 0) one.listen()
    if (random.below(10) === 0) one.hasRoom = false
    if (random.below(5) === 0) for (const each of agents) each.drain()
    await s.pass(50 * random.below(4), agents)
  }
  for (const one of agents) one.drain()
  await s.pass(500, agents)
  s.dispatcher.stop()

  const fresh = s.another()
  fresh.start()
  for (const one of agents) {
    const twin = new TestAgent(fresh, one.nodeId).register().listen()
    s.timers.advance(500)
    for (const kind of ['task', 'network', 'endpoint', 'service'] as const) {
      t.same(new Map(one.items.all(kind)), new Map(twin.items.all(kind)), `${one.nodeId}: ${kind}`)
    }
  }
  fresh.stop()
})
