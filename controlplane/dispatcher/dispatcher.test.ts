// Goal: every node has exactly its share of the cluster, whatever happens and in whatever order; nodes
// live and die as their heartbeats say; reports of nodes are believed as far as they may be. Method: a
// dispatcher over a store of its own, with the time moved by hand, and agents that check each message.

import t from 'tap'
import { prng } from '../../base/prng.ts'
import { type ManualTimers, manualTimers } from '../../base/timers.ts'
import type { Store, WriteTransaction } from '../store/contract.ts'
import { counterBytes, localStore } from '../store/local-store.ts'
import type { TaskNetwork } from '../store/objects.ts'
import { Dispatcher } from './dispatcher.ts'
import { DispatchError } from './errors.ts'
import { TestAgent } from './testing/agent.ts'
import { cluster, network, node, service, task } from './testing/objects.ts'

interface Scene {
  readonly store: Store
  readonly timers: ManualTimers
  readonly dispatcher: Dispatcher
  readonly agents: Map<string, TestAgent>
  agent(id: string): TestAgent
  write(change: (tx: WriteTransaction) => void): Promise<void>
  /** Lets time pass while `beating` agents send heartbeats; all that follows from it is done. */
  pass(ms: number, beating?: readonly TestAgent[]): Promise<void>
  another(): Dispatcher
}

async function scene(nodes: readonly string[], start = true): Promise<Scene> {
  const timers = manualTimers(0, 1e12)
  const store = localStore(timers.clock)
  await store.update((tx) => {
    tx.create('clusters', cluster())
    for (const id of nodes) tx.create('nodes', node(id))
  })
  const make = (): Dispatcher =>
    new Dispatcher({
      store,
      clock: timers.clock,
      timers,
      random: prng(1),
      randomBytes: counterBytes(),
    })
  const dispatcher = make()
  if (start) dispatcher.start()
  const agents = new Map(nodes.map((id) => [id, new TestAgent(dispatcher, id)]))
  return {
    store,
    timers,
    dispatcher,
    agents,
    another: make,
    agent: (id) => agents.get(id)!,
    write: (change) => store.update(change),
    async pass(ms, beating = []) {
      for (let left = ms; left > 0; left -= 50) {
        for (const one of beating) one.beat()
        timers.advance(Math.min(left, 50))
        for (let i = 0; i < 8; i++) await Promise.resolve()
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  }
}

const on = (networkId: string, address: string): TaskNetwork => ({
  networkId,
  addresses: [`${address}/24`],
  aliases: [],
})

function refusal(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof DispatchError) return error.code
    throw error
  }
  return 'none'
}

t.test('registration', async (t) => {
  const s = await scene(['a', 'b'])
  const key = Buffer.alloc(32, 1).toString('base64')
  s.agent('a').register({ key, endpoint: '127.0.0.1:4789' })
  await s.pass(100)
  const { status, description, tunnel } = s.store.view((tx) => tx.get('nodes', 'a')!)
  t.same([status.state, status.address, description?.hostname], ['ready', '127.0.0.1', 'a'])
  t.same(tunnel, { publicKey: key, endpoint: '127.0.0.1:4789' })
  const [first] = s.agent('a').sessionMessages
  t.equal(first?.heartbeatMs, 1000)
  t.equal(JSON.parse(String(first?.node)).role, 'worker')

  t.equal(
    refusal(() => new TestAgent(s.dispatcher, 'stranger').register()),
    'not-found',
  )
  s.agent('a').register()
  s.agent('a').register()
  t.equal(
    refusal(() => s.agent('a').register()),
    'unavailable',
    'a fourth time within 8 s',
  )
  await s.pass(8_000, [s.agent('a')])
  t.equal(
    refusal(() => s.agent('a').register()),
    'none',
  )

  const old = s.agent('a').sessionId
  s.agent('a').register()
  t.equal(
    refusal(() => s.agent('a').beat({ sessionId: old })),
    'invalid-argument',
  )
  t.equal(
    refusal(() => s.agent('a').beat({ sessionId: '' })),
    'invalid-argument',
  )
  t.equal(
    refusal(() => s.agent('b').beat({ sessionId: s.agent('a').sessionId })),
    'invalid-argument',
  )

  await s.write((tx) => tx.remove('nodes', 'a'))
  t.equal(s.agent('a').error?.code, 'not-found')
  t.equal(
    refusal(() => s.agent('a').beat()),
    'not-found',
  )
  s.dispatcher.stop()
  t.equal(s.timers.size, 0, 'nothing goes on after stop()')
  t.equal(
    refusal(() => s.agent('b').register()),
    'unavailable',
  )
})

t.test('what a node says of itself is not believed blindly', async (t) => {
  const s = await scene(['a'])
  const described = { node: Buffer.from('{}'), tunnelPublicKey: '', tunnelEndpoint: '', zone: '' }
  const stream = { write: () => {}, end: () => {} }
  const tryIt = (changes: Partial<typeof described>): string =>
    refusal(() => s.dispatcher.session('a', { ...described, ...changes }, '', stream))
  t.equal(tryIt({}), 'invalid-argument')
  t.equal(tryIt({ node: Buffer.from('[') }), 'invalid-argument')
  t.equal(tryIt({ node: Buffer.alloc(300_000, 32) }), 'invalid-argument')
  s.agent('a').register()
  await s.write((tx) => tx.create('tasks', task('t1', 'assigned', 'a')))
  t.equal(
    refusal(() => s.agent('a').status('t1', 'orphaned')),
    'invalid-argument',
  )
  t.equal(
    refusal(() => s.agent('a').status('t1', 'new')),
    'invalid-argument',
  )
  t.equal(
    refusal(() => s.agent('a').status('t1', '__proto__')),
    'invalid-argument',
  )
  const long = { error: 'x'.repeat(5_000) }
  t.equal(
    refusal(() => s.agent('a').status('t1', 'failed', long)),
    'invalid-argument',
  )
  s.dispatcher.stop()
})

t.test('session messages follow the cluster', async (t) => {
  const s = await scene(['a', 'b'])
  s.agent('a').register()
  await s.pass(100, [s.agent('a')])
  const count = s.agent('a').sessionMessages.length
  await s.write((tx) => {
    const b = tx.get('nodes', 'b')!
    const manager = { raftId: 1, address: '127.0.0.1:2377', isLeader: true } as const
    tx.update('nodes', {
      ...b,
      role: 'manager',
      manager: { ...manager, reachability: 'reachable' },
    })
  })
  t.same(s.agent('a').sessionMessages.at(-1)?.managers, [
    { nodeId: 'b', address: '127.0.0.1:2377', weight: 1 },
  ])
  await s.write((tx) => {
    const a = tx.get('nodes', 'a')!
    tx.update('nodes', { ...a, spec: { ...a.spec, Role: 'manager' } })
  })
  t.equal(JSON.parse(String(s.agent('a').sessionMessages.at(-1)?.node)).spec.Role, 'manager')
  t.equal(s.agent('a').sessionMessages.length, count + 2, 'and say nothing twice')
  t.equal(s.agent('a').sessionMessages.at(-1)?.tunnelKeys?.length, 1, 'the first key is made')
  s.dispatcher.stop()
})

t.test('heartbeats', async (t) => {
  const s = await scene(['a', 'b', 'c'])
  const [a, b, c] = ['a', 'b', 'c'].map((id) => s.agent(id).register()) as TestAgent[]
  const state = (id: string): string => s.store.view((tx) => tx.get('nodes', id)!.status.state)
  const periods = new Set(Array.from({ length: 50 }, () => a!.beat()))
  t.ok([...periods].every((ms) => ms >= 900 && ms <= 1100) && periods.size > 10, 'with jitter')
  await s.pass(2_800, [a!, b!])
  t.equal(state('c'), 'ready')
  await s.pass(500, [a!, b!])
  t.equal(state('c'), 'down', 'after three periods')
  t.equal(c!.error?.code, 'invalid-argument')
  t.equal(
    refusal(() => c!.beat()),
    'invalid-argument',
  )
  c!.register()
  await s.pass(100, [a!, b!])
  t.equal(state('c'), 'ready')

  await s.pass(1_200, [a!, b!])
  for (const one of [a!, b!]) one.beat({ silentNodes: ['c'] })
  await s.pass(700, [a!, b!])
  t.equal(state('c'), 'down', 'sooner when nobody hears it')
  b!.beat({ silentNodes: ['a'] })
  await s.pass(1_000, [a!, b!])
  t.equal(state('a'), 'ready', 'but never while it has a heartbeat')
  s.dispatcher.stop()
})

t.test('a new leader gives one normal timeout, and writes nothing', async (t) => {
  const s = await scene(['a', 'b'], false)
  await s.write((tx) => {
    for (const id of ['a', 'b']) {
      const one = tx.get('nodes', id)!
      tx.update('nodes', { ...one, status: { ...one.status, state: 'ready' } })
    }
    tx.update('clusters', { ...tx.cluster()!, tunnelKeys: [{ key: 'eA==', createdMs: 1e12 }] })
  })
  const index = s.store.index
  s.dispatcher.start()
  await s.pass(2_000)
  t.equal(s.store.index, index)
  s.agent('a').register()
  await s.pass(1_300, [s.agent('a')])
  const states = s.store.view((tx) => tx.all('nodes').map(({ id, status }) => [id, status.state]))
  t.same(
    new Map(states as [string, string][]),
    new Map([
      ['a', 'ready'],
      ['b', 'down'],
    ]),
  )
  s.dispatcher.stop()
})

t.test('tasks, secrets and configs', async (t) => {
  const s = await scene(['a', 'b'])
  const a = s.agent('a').register().listen()
  const b = s.agent('b').register().listen()
  const both = [a, b]
  const container = { Image: 'i', Secrets: [{ SecretID: 's1', SecretName: 'pw' }] }
  const spec = { ContainerSpec: container, ForceUpdate: 0, Runtime: 'container' as const }
  await s.write((tx) => {
    tx.create('secrets', { id: 's1', spec: { Name: 'pw', Labels: {}, Data: 'eA==' } })
    tx.create('tasks', task('t0', 'pending', ''))
    tx.create('tasks', task('t1', 'assigned', 'a', [], { spec }))
    tx.create('tasks', task('t2', 'assigned', 'a', [], { spec, slot: 2 }))
  })
  await s.pass(200, both)
  t.same([...a.items.all('task').keys()].sort(), ['t1', 't2'])
  t.equal(a.items.all('secret').get('s1')?.data, 'eA==')
  t.equal(b.items.all('task').size + b.items.all('secret').size, 0, "none of another's secrets")

  const count = a.messages.length
  a.status('t1', 'running')
  await s.pass(300, both)
  t.equal(a.messages.length, count, 'what the node told is not told back')
  t.equal(
    s.store.view((tx) => tx.get('tasks', 't1')!.status.state),
    'running',
  )
  a.status('t1', 'starting')
  await s.pass(100, both)
  t.equal(
    s.store.view((tx) => tx.get('tasks', 't1')!.status.state),
    'running',
    'never back',
  )
  t.equal(
    refusal(() => b.status('t1', 'failed')),
    'permission-denied',
  )

  a.status('t1', 'failed')
  await s.pass(200, both)
  t.equal(a.items.all('secret').size, 1, 'the other task needs it still')
  a.status('t2', 'complete')
  await s.pass(200, both)
  t.equal(a.items.all('secret').size, 0)
  await s.write((tx) => tx.remove('tasks', 't1'))
  await s.pass(200, both)
  t.same([...a.items.all('task').keys()], ['t2'])
  s.dispatcher.stop()
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
  t.same(a.items.all('endpoint').get('t2.n1')?.state, 'starting')
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
  t.notOk(a.items.all('drained').has('t1'), 'somebody has flows open')
  d.beat({ draining: [{ taskId: 't1', flows: 0 }] })
  await s.pass(50)
  t.ok(a.items.all('drained').has('t1'), 'nodes that are not on the network do not count')
  a.status('t1', 'shutdown')
  await s.pass(200, agents)
  t.notOk(a.items.all('drained').has('t1'))
  t.equal(s.dispatcher.counts.drains, 0)

  await stop('t2')
  await s.pass(50, [a, b])
  d.beat({ draining: [{ taskId: 't2', flows: 1 }] })
  await s.pass(200, [a, b])
  t.notOk(b.items.all('drained').has('t2'))
  await s.pass(3_500, [a, b])
  t.ok(b.items.all('drained').has('t2'), 'the dead hold up nobody')
  s.dispatcher.stop()
})

t.test('tasks of a node that stays away are orphaned after a day', async (t) => {
  const s = await scene(['a'])
  s.agent('a').register()
  await s.write((tx) => tx.create('tasks', task('t1', 'running', 'a')))
  await s.pass(3_500)
  const state = (): string => s.store.view((tx) => tx.get('tasks', 't1')!.status.state)
  s.timers.advance(23 * 3600_000)
  await s.pass(100)
  t.equal(state(), 'running')
  s.timers.advance(3660_000)
  await s.pass(100)
  t.equal(state(), 'orphaned')
  s.dispatcher.stop()
})

t.test('tunnel keys are rotated every 12 hours, three are kept', async (t) => {
  const s = await scene([])
  await s.pass(100)
  const keys = (): string[] => s.store.view((tx) => tx.cluster()!.tunnelKeys.map(({ key }) => key))
  const seen = [keys()]
  for (let i = 0; i < 3; i++) {
    s.timers.advance(12 * 3600_000 + 60_000)
    await s.pass(100)
    seen.push(keys())
  }
  t.same(
    seen.map((list) => list.length),
    [1, 2, 3, 3],
  )
  t.same(seen[3]?.slice(1), seen[2]?.slice(0, 2), 'the oldest goes')
  t.ok(seen.flat().every((key) => Buffer.from(key, 'base64').length === 32))
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
