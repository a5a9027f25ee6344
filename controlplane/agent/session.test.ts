// Goal: an agent finds the leader, keeps a session with it, is in step with its assignment, tells
// its statuses, and finds the next leader within moments; its tasks go on meanwhile. Method:
// managers of real gRPC and TLS on loopback over one store, the leadership moved by hand; a worker
// over an executor in memory.

import t, { type Test } from 'tap'
import { type Logger, silentLogger } from '../../base/log.ts'
import { prng } from '../../base/prng.ts'
import type { Dispatcher } from '../dispatcher/dispatcher.ts'
import { task } from '../dispatcher/testing/objects.ts'
import type { DispatcherClient } from '../proto/dispatcher.ts'
import { IdentityHolder } from '../proto/identity.ts'
import { TestAuthority } from '../proto/testing/certificates.ts'
import type { MemoryStore } from '../store/memory-store.ts'
import { connector } from './connect.ts'
import { Managers, retryDelayMs } from './managers.ts'
import { SessionLoop } from './session-loop.ts'
import { forgetfulMemory } from './task-db.ts'
import { FakeExecutor } from './testing/fake-executor.ts'
import { clock, clusterOf, Manager, timers } from './testing/managers.ts'
import { until } from './testing/tasks.ts'
import { Worker } from './worker.ts'

/** A stream that swallows what it is given. */
const UNANSWERED = { on: () => {}, write: () => true, cancel: () => {} }

interface World {
  readonly store: MemoryStore
  readonly managers: readonly Manager[]
  readonly executor: FakeExecutor
  readonly worker: Worker
  readonly loop: SessionLoop
  readonly connected: (string | null)[]
  readonly removed: () => number
  /** While it is on, new sessions' heartbeats are not answered. */
  readonly mute: { isOn: boolean }
  lead(index: number): Dispatcher
  state(id: string): string | undefined
}

function connecting(authority: TestAuthority, mute: World['mute']) {
  const identity = authority.issue({ nodeId: 'node1', role: 'swarm-worker' })
  const connect = connector(new IdentityHolder(identity))
  return (address: string): DispatcherClient => {
    const client = connect(address)
    if (mute.isOn) client.Heartbeat = (() => UNANSWERED) as never
    return client
  }
}

async function world(t: Test, managerCount = 3, log: Logger = silentLogger): Promise<World> {
  const authority = new TestAuthority()
  const store = await clusterOf('node1')
  let leader: Manager | null = null
  const managers: Manager[] = []
  for (let i = 0; i < managerCount; i++) {
    managers.push(await new Manager(authority, store, () => leader?.address ?? null).listen())
  }
  const executor = new FakeExecutor('host1')
  const connected: (string | null)[] = []
  let removed = 0
  const worker: Worker = new Worker({
    executor,
    memory: forgetfulMemory(),
    clock,
    timers,
    log: silentLogger,
    node: { id: 'node1', hostname: 'host1' },
    onStatus: (id, status) => loop.status(id, status),
    onTables: () => {},
    isNetworked: () => true,
  })
  const mute = { isOn: false }
  const loop: SessionLoop = new SessionLoop({
    connect: connecting(authority, mute),
    managers: new Managers(managers.map(({ address }) => address)),
    host: {
      describe: async () => ({
        node: Buffer.from(JSON.stringify({ ...(await executor.describe()), tls: null })),
        tunnelPublicKey: Buffer.alloc(32, 9).toString('base64'),
        tunnelEndpoint: '127.0.0.1:4789',
        zone: '',
      }),
      heartbeat: () => ({ applied: loop.items.version }),
      onMessage: () => {},
      onItems: ({ observed }) => worker.assign(loop.items, observed),
      onLogs: () => {},
    },
    statuses: () => worker.statuses(),
    onConnected: (address) => connected.push(address),
    onRemoved: () => removed++,
    clock,
    timers,
    random: prng(7),
    log,
  })
  t.teardown(async () => {
    await loop.close()
    await worker.close()
    for (const manager of managers) manager.retire()
    await Promise.all(managers.map(({ server }) => server.close()))
  })
  return {
    store,
    managers,
    executor,
    worker,
    loop,
    connected,
    removed: () => removed,
    mute,
    lead(index) {
      leader?.retire()
      leader = managers[index]!
      return leader.lead(index + 1)
    },
    state: (id) => store.view((tx) => tx.get('tasks', id)?.status.state),
  }
}

t.test('a node joins, runs a task, and outlives two leaders', async (t) => {
  const w = await world(t)
  w.lead(1)
  w.loop.start()
  await until(() => w.connected.length > 0)
  t.equal(w.connected[0], w.managers[1]?.address, 'sent on to the leader')
  const nodeOf = () => w.store.view((tx) => tx.get('nodes', 'node1')!)
  await until(() => nodeOf().status.state === 'ready')
  t.equal(nodeOf().description?.hostname, 'host1')
  t.equal(nodeOf().status.address, '127.0.0.1')
  t.equal(nodeOf().tunnel?.endpoint, '127.0.0.1:4789')

  await w.store.update((tx) => tx.create('tasks', task('t1', 'assigned', 'node1')))
  await until(() => w.state('t1') === 'running')

  w.lead(2)
  await until(() => w.connected.at(-1) === w.managers[2]?.address)
  t.equal(w.connected.at(-2), null, 'the first session has ended')
  t.equal(w.executor.calls.filter((call) => call === 'start t1').length, 1)

  // While no manager leads, the task ends; the next one hears of it.
  w.managers[2]?.retire()
  await until(() => w.connected.at(-1) === null)
  w.executor.exit('t1')
  await until(() => w.worker.tasks.get('t1')?.status.state === 'complete')
  w.lead(0)
  await until(() => w.state('t1') === 'complete')

  await w.store.update((tx) => tx.remove('nodes', 'node1'))
  await until(() => w.removed() > 0)
  t.pass('and it hears that it was removed')
})

t.test('a manager that answers neither here nor there is given up', async (t) => {
  const w = await world(t, 1)
  w.mute.isOn = true
  w.lead(0)
  w.loop.start()
  await until(() => w.connected.length > 0)
  const session = w.loop.session!
  w.mute.isOn = false
  await until(() => {
    session.doubt()
    return session.isOver
  })
  await until(() => w.connected.length > 2)
  t.not(w.loop.session, session, 'and tried again')
})

t.test('a set that is out of step is asked for anew', async (t) => {
  const w = await world(t, 1)
  w.lead(0)
  w.loop.start()
  await until(() => w.connected.length > 0)
  await w.store.update((tx) => tx.create('tasks', task('t1', 'assigned', 'node1')))
  await until(() => w.loop.items.all('task').has('t1'))
  const change = { kind: 'secret', id: 'x', value: Buffer.from('1'), removed: false }
  t.throws(() =>
    w.loop.items.apply({
      type: 'INCREMENTAL',
      appliesTo: w.loop.items.version,
      resultsIn: w.loop.items.version,
      hash: Buffer.alloc(16),
      more: false,
      changes: [change],
      observed: [],
    }),
  )
  await w.store.update((tx) => tx.create('tasks', task('t2', 'assigned', 'node1')))
  await until(() => w.loop.items.all('task').has('t2') && !w.loop.items.all('secret').has('x'))
  await until(() => w.state('t2') === 'running')
  t.equal(w.connected.length, 1, 'in the same session')
})

t.test('a stranger gets in nowhere', async (t) => {
  const w = await world(t, 1)
  w.lead(0)
  const other = new TestAuthority('other-cluster')
  const address = w.managers[0]!.address
  const identity = { ...other.issue({ nodeId: 'node1' }), roots: other.root }
  const client = connector(new IdentityHolder(identity))(address)
  const error = await new Promise((resolve) => {
    const deadline = Date.now() + 2000
    const stream = client.Heartbeat({ deadline })
    stream.on('error', resolve)
    stream.write({ sessionId: 'x' })
  })
  client.close()
  t.match(error, { code: Number })
})

t.test('which manager to call', async (t) => {
  const random = prng(3)
  const managers = new Managers(['a:1', 'b:1', 'c:1'])
  managers.failed('a:1')
  managers.failed('b:1')
  t.equal(managers.next(random), 'c:1')
  managers.failed('c:1')
  t.ok(managers.next(random), 'all have failed: from the beginning')
  t.ok(managers.hint('d:1', 'c:1'))
  t.equal(managers.next(random), 'd:1')
  let hints = 0
  while (managers.hint('e:1', 'f:1') && hints < 100) hints++
  t.ok(hints < 10, 'hints do not go round for ever')
  managers.update([])
  t.equal(managers.addresses.length, 3)
  t.equal(new Managers([]).next(random), null)
  const silent = new Set(['a:1'])
  const others = new Managers(['a:1', 'b:1'], (address) => silent.has(address))
  t.notOk(others.hint('a:1', 'b:1'), 'who does not answer does not lead')
  for (let n = 0; n < 10; n++) {
    t.equal(others.next(random), 'b:1')
    others.failed('b:1')
  }
  silent.add('b:1')
  t.ok(others.next(random), 'when nobody answers, all are tried')
  for (let tries = 1; tries < 40; tries++) {
    const delayMs = retryDelayMs(tries, random)
    t.ok(delayMs >= 0 && delayMs <= (tries <= 8 ? 250 : 8_000))
  }
})

t.test('a node that no manager takes says so once', async (t) => {
  const told: string[] = []
  const warn = (message: string, fields?: object): void => {
    told.push(`${message} ${JSON.stringify(fields)}`)
  }
  const w = await world(t, 1, { ...silentLogger, warn })
  w.loop.start()
  await until(() => told.length > 0)
  t.match(told[0], /^no manager takes this node.*"address":"127\.0\.0\.1:\d+","error":"\S/)
  w.lead(0)
  w.loop.hurry()
  await until(() => w.connected.length > 0)
  t.equal(told.length, 1)
})
