// Goal: nodes live and die as their heartbeats say, know what concerns them, and are believed as
// far as they may be. Method: a dispatcher over a store of its own, with the time moved by hand.

import t from 'tap'
import { DispatchError } from './errors.ts'
import { TestAgent } from './testing/agent.ts'
import { network, task } from './testing/objects.ts'
import { on, scene } from './testing/scene.ts'

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
  await s.pass(1_000, [a!, b!])
  t.equal(state('c'), 'ready', 'not sooner because nobody hears it')
  s.dispatcher.stop()
})

t.test('a node that does not answer is out of service, and back when it does', async (t) => {
  const s = await scene(['a', 'b', 'c'])
  const [a, b, c] = ['a', 'b', 'c'].map((id) => s.agent(id).register().listen()) as TestAgent[]
  await s.write((tx) => {
    tx.create('networks', network('n1'))
    tx.create('tasks', task('ta', 'running', 'a', [on('n1', '10.0.1.3')]))
    tx.create('tasks', task('tc', 'running', 'c', [on('n1', '10.0.1.4')]))
  })
  await s.pass(100, [a!, b!, c!])
  const stateOf = (id: string): string | undefined =>
    a!.items.all('endpoint').get(`${id}.n1`)?.state
  const silence = async (ms: number, alive: TestAgent[], beat: object): Promise<void> => {
    await s.pass(ms, alive)
    for (const one of alive) one.beat(beat)
    await s.pass(200, alive)
  }
  t.equal(stateOf('tc'), 'serving')
  const says = { silentNodes: ['c'] }
  await silence(1_000, [a!, b!], says)
  t.equal(stateOf('tc'), 'serving', 'one late heartbeat may happen')
  await silence(200, [a!, b!], says)
  await s.pass(200, [a!, b!])
  t.equal(stateOf('tc'), 'idle')
  t.equal(s.dispatcher.counts.away, 1)
  t.equal(stateOf('ta'), 'serving')
  const { index } = s.store
  c!.beat()
  await s.pass(200, [a!, b!])
  t.equal(stateOf('tc'), 'serving', 'the first heartbeat brings it back')
  t.equal(s.dispatcher.counts.away, 0)
  t.equal(s.store.index, index, 'nothing of it is written')

  await silence(1_400, [a!, b!], says)
  t.equal(stateOf('tc'), 'idle')
  a!.beat({ heardNodes: ['c'] })
  b!.beat({ heardNodes: ['c'] })
  await s.pass(200, [a!, b!])
  t.equal(stateOf('tc'), 'serving', 'and so do its tunnels')
  await silence(0, [a!, b!], says)
  t.equal(stateOf('tc'), 'idle')
  c!.register().listen()
  await s.pass(200, [a!, b!])
  t.equal(stateOf('tc'), 'serving', 'and a new session')

  await silence(1_400, [a!, b!], says)
  await s.pass(1_600, [a!, b!])
  t.equal(
    s.store.view((tx) => tx.get('nodes', 'c')!.status.state),
    'down',
  )
  t.equal(stateOf('tc'), undefined)
  c!.register().listen()
  await s.pass(200, [a!, b!])
  t.equal(stateOf('tc'), 'serving')

  c!.beat({ isReturning: true })
  await silence(1_800, [a!, b!], says)
  t.equal(stateOf('tc'), 'serving', 'who is about to be started again is waited for')
  await s.pass(1_200, [a!, b!])
  t.equal(stateOf('tc'), undefined, 'as long as for anybody')
  b!.beat({ silentNodes: ['a'] })
  await s.pass(1_000, [a!, b!])
  t.equal(stateOf('ta'), 'serving', 'who has a heartbeat is alive')
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

t.test('where nodes behind NAT are heard', async (t) => {
  const s = await scene(['a', 'm', 'w'])
  await s.write((tx) => tx.update('nodes', { ...tx.get('nodes', 'm')!, role: 'manager' }))
  const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64')
  const a = s.agent('a').register({ key: key(1) })
  const m = s.agent('m').register({ key: key(2), endpoint: '127.0.0.2:4789' })
  const w = s.agent('w').register({ key: key(3), endpoint: '127.0.0.3:4789' })
  const all = [a, m, w]
  await s.pass(100, all)
  const seenAt = (): string | undefined =>
    s.store.view((tx) => tx.get('nodes', 'a')!.tunnel?.seenAt)
  const seen = (endpoint: string) => ({ seen: [{ nodeId: 'a', endpoint }] })
  w.beat(seen('127.0.0.9:1'))
  await s.pass(100, all)
  t.equal(seenAt(), undefined, 'only managers are believed')
  m.beat(seen('127.0.0.9:1111'))
  m.beat({ seen: [{ nodeId: 'w', endpoint: '127.0.0.9:2' }] })
  await s.pass(100, all)
  t.equal(seenAt(), '127.0.0.9:1111')
  t.equal(
    s.store.view((tx) => tx.get('nodes', 'w')!.tunnel?.seenAt),
    undefined,
  )
  m.beat(seen('127.0.0.9:2222'))
  await s.pass(100, all)
  t.equal(seenAt(), '127.0.0.9:1111', 'not too often')
  await s.pass(30_000, all)
  m.beat(seen('127.0.0.9:2222'))
  await s.pass(100, all)
  t.equal(seenAt(), '127.0.0.9:2222')

  t.comment('a NAT that shows each manager another place: one of them is believed while it lives')
  await s.write((tx) => tx.update('nodes', { ...tx.get('nodes', 'w')!, role: 'manager' }))
  await s.pass(40_000, all)
  w.beat(seen('127.0.0.9:3333'))
  await s.pass(100, all)
  t.equal(seenAt(), '127.0.0.9:2222')
  await s.pass(5_000, [a, w])
  w.beat(seen('127.0.0.9:3333'))
  await s.pass(100, [a, w])
  t.equal(seenAt(), '127.0.0.9:3333')
  m.register({ key: key(2), endpoint: '127.0.0.2:4789' })
  t.equal(
    refusal(() => m.beat(seen('x'))),
    'invalid-argument',
  )
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
