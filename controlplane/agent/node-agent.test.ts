// Goal: agents and leader work together: a task is in service on every node only while it can
// serve, is drained with everybody's acknowledgement before it is stopped, its logs are read from
// afar, and a node that starts while its cluster is away serves as before. Method: real gRPC and
// TLS, agents over executors and data planes in memory.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentLogger } from '../../base/log.ts'
import { prng } from '../../base/prng.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import type { LogEntry } from '../dispatcher/log-broker.ts'
import { network, service, task } from '../dispatcher/testing/objects.ts'
import { on } from '../dispatcher/testing/scene.ts'
import { IdentityHolder } from '../proto/identity.ts'
import { TestAuthority } from '../proto/testing/certificates.ts'
import type { MemoryStore } from '../store/memory-store.ts'
import { connector } from './connect.ts'
import type { DnsTables } from './dns/zone.ts'
import { NodeAgent } from './node-agent.ts'
import type { PeerTraffic } from './peer-liveness.ts'
import { FakeExecutor } from './testing/fake-executor.ts'
import { clock, clusterOf, Manager, timers } from './testing/managers.ts'
import { until } from './testing/tasks.ts'

class Node {
  readonly executor: FakeExecutor
  readonly agent: NodeAgent
  tables: ForwardingTables | null = null
  names: DnsTables | null = null
  /** While true, tables with interfaces are refused. */
  hasNoDevices = false
  /** Flows open to each backend, by the task's id. */
  readonly flows = new Map<string, number>()
  readonly stateDirectory: string

  isBehindNat = false
  /** Counters of its tunnels, and the peers that were knocked at, in order. */
  readonly traffic: PeerTraffic[] = []
  readonly knocked: string[] = []

  /** Of the host. */
  addresses: readonly string[] = ['192.0.2.1']

  constructor(
    id: string,
    folder: string,
    authority: TestAuthority,
    managers: string[],
    executor = new FakeExecutor(id),
  ) {
    this.executor = executor
    this.stateDirectory = join(folder, id)
    const identity = new IdentityHolder(authority.issue({ nodeId: id, role: 'swarm-worker' }))
    const publicKey = Buffer.alloc(32, id).toString('base64')
    const port = 4000 + id.charCodeAt(0)
    this.agent = new NodeAgent(
      {
        nodeId: id,
        hostname: id,
        stateDirectory: this.stateDirectory,
        managers,
        schedulers: ['rr'],
      },
      {
        executor,
        dataPlane: {
          tunnel: () => ({
            publicKey,
            endpoint: this.isBehindNat ? null : `127.0.0.1:${port}`,
          }),
          localNode: ({ tunnelKeys }) => ({
            name: id,
            presharedKey: tunnelKeys[0]!,
            addresses: this.addresses,
          }),
          apply: async (tables) => {
            const hasInterfaces = tables.endpoints.some((one) => one.interface !== undefined)
            if (this.hasNoDevices && hasInterfaces) throw new Error('no devices')
            this.tables = tables
          },
          flows: async (names) =>
            new Map(names.map((name) => [name, this.flows.get(name.split('.')[2]!) ?? 0])),
          traffic: () => this.traffic,
          knock: (peers) => {
            this.knocked.push(...peers)
          },
          seen: () => [],
          gatewayInterface: () => null,
        },
        tls: () => null,
        connect: connector(identity),
        onCluster: () => {},
        onDns: (tables) => {
          this.names = tables
        },
        onRemoved: () => {},
        clock,
        timers,
        random: prng(id.charCodeAt(0)),
        log: silentLogger,
      },
    )
    this.agent.start()
  }

  /** Weights of a service's backends, by task. */
  weights(): Record<string, number> {
    const backends = this.tables?.services[0]?.backends ?? []
    const pairs = backends.map(({ endpoint, weight }) => [endpoint.split('.')[2], weight ?? 1])
    return Object.fromEntries(pairs.sort()) as Record<string, number>
  }
}

interface World {
  readonly store: MemoryStore
  readonly manager: Manager
  readonly authority: TestAuthority
  readonly folder: string
  readonly nodes: readonly Node[]
  close(): Promise<void>
}

async function world(t: Test, ids: readonly string[]): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-agent-'))
  const authority = new TestAuthority()
  const store = await clusterOf(...ids)
  const manager = await new Manager(authority, store, () => null).listen()
  manager.lead(1)
  const nodes = ids.map((id) => new Node(id, folder, authority, [manager.address]))
  const close = async (): Promise<void> => {
    await Promise.all(nodes.map(({ agent }) => agent.close()))
    manager.retire()
    await manager.server.close()
    rmSync(folder, { recursive: true })
  }
  await until(() => nodes.every(({ agent }) => agent.isConnected))
  await store.update((tx) => {
    tx.create('networks', network('n1'))
    const virtualIps = [{ networkId: 'n1', address: '10.0.1.2/24' }]
    tx.create('services', service('web', { endpoint: { spec: {}, ports: [], virtualIps } }))
    ids.forEach((id, i) => {
      const place = [on('n1', `10.0.1.${10 + i}`)]
      tx.create('tasks', task(`t${id}`, 'assigned', id, place, { slot: i + 1 }))
    })
  })
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return { store, manager, authority, folder, nodes, close }
}

t.test('a service over three nodes', async (t) => {
  const { nodes, store, close } = await world(t, ['a', 'b', 'c'])
  const [a, b, c] = nodes as [Node, Node, Node]
  const all = { ta: 1, tb: 1, tc: 1 }
  const agree = (weights: object): boolean =>
    nodes.every((node) => JSON.stringify(node.weights()) === JSON.stringify(weights))
  await until(() => agree(all), 'every task serves on every node')
  t.equal(a.tables?.peers.length, 2)
  t.same(a.names?.networks[0]?.records.find(({ name }) => name === 'web')?.addresses, ['10.0.1.2'])
  const local = a.tables?.endpoints.find(({ node }) => node === 'a')
  t.match(local?.interface, { netns: '/run/netns/ta' })

  await t.test('drains before it stops', async (t) => {
    b.flows.set('ta', 1)
    await store.update((tx) => {
      tx.update('tasks', { ...tx.get('tasks', 'ta')!, desiredState: 'shutdown' })
    })
    await until(() => agree({ ta: 0, tb: 1, tc: 1 }), 'nobody gives it new flows')
    await new Promise((resolve) => setTimeout(resolve, 300))
    t.equal(a.executor.bodies.get('ta')?.state, 'running', 'while somebody has flows open')
    b.flows.clear()
    await until(() => a.executor.bodies.get('ta')?.state === 'exited')
    await until(() => store.view((tx) => tx.get('tasks', 'ta')!.status.state) === 'shutdown')
    await until(() => JSON.stringify(b.weights()) === JSON.stringify({ tb: 1, tc: 1 }))
  })

  await t.test('a task that dies is out of service on every node', async () => {
    c.executor.exit('tc')
    await until(() => JSON.stringify(b.weights()) === JSON.stringify({ tb: 1 }))
  })
  await close()
})

t.test('a task begins when its interfaces are there', async (t) => {
  const { nodes, store, close } = await world(t, ['a'])
  const [a] = nodes as [Node]
  a.hasNoDevices = true
  await store.update((tx) => {
    tx.create('tasks', task('late', 'assigned', 'a', [on('n1', '10.0.1.99')], { slot: 9 }))
  })
  await until(() => a.executor.calls.includes('start late'))
  await until(() => a.agent.counts.failures > 0, 'the tables were refused')
  t.notOk(a.executor.calls.includes('run late'))
  a.hasNoDevices = false
  await until(() => a.executor.calls.includes('run late'))
  const late = a.tables?.endpoints.find(({ name }) => name.includes('late'))
  t.match(late?.interface, { netns: '/run/netns/late' })
  await close()
})

t.test('the tables follow the addresses of the host', async (t) => {
  const { nodes, close } = await world(t, ['a'])
  const [a] = nodes as [Node]
  for (const addresses of [['192.0.2.1'], [], ['192.0.2.1', '192.0.2.2']]) {
    a.addresses = addresses
    await until(() => a.tables?.node.addresses?.join() === addresses.join(), addresses.join())
  }
  await close()
})

t.test('a node behind NAT is heard by its peers when it is with a manager again', async (t) => {
  const { nodes, manager, close } = await world(t, ['a', 'b'])
  const [a, b] = nodes as [Node, Node]
  a.isBehindNat = true
  for (const node of nodes) node.traffic.push({ nodeId: 'c', received: 1, sent: 1 })
  manager.retire()
  await until(() => nodes.every(({ agent }) => !agent.isConnected))
  manager.lead(2)
  await until(() => nodes.every(({ agent }) => agent.isConnected))
  t.same(a.knocked, ['c'])
  t.same(b.knocked, [], 'others know where a node is that is behind none')
  await close()
})

t.test('logs are read from every node', async (t) => {
  const { nodes, store, manager, close } = await world(t, ['a', 'b'])
  const [a, b] = nodes as [Node, Node]
  await until(() =>
    store.view((tx) => tx.all('tasks')).every(({ status }) => status.state === 'running'),
  )
  const line = (text: string, stream: 'stdout' | 'stderr' = 'stdout') => ({
    stream,
    timestampNs: '1700000000000000001',
    attributes: { color: 'red' },
    data: Buffer.from(text),
  })
  a.executor.lines = [line('one\n'), line('two\n'), line('oops\n', 'stderr')]
  b.executor.lines = Array.from({ length: 1000 }, (_, i) => line(`line ${i}\n`))
  const request = {
    serviceIds: ['web'],
    taskIds: [] as string[],
    follow: false,
    tail: -1,
    sinceMs: 0,
    stdout: true,
    stderr: true,
  }
  const read = async (changes: Partial<typeof request>, most = 1e9): Promise<LogEntry[]> => {
    const abort = new AbortController()
    const entries: LogEntry[] = []
    for await (const entry of manager.dispatcher!.logs.subscribe(
      { ...request, ...changes },
      abort.signal,
    )) {
      entries.push(entry)
      if (entries.length >= most) abort.abort()
    }
    return entries
  }
  const entries = await read({})
  t.equal(entries.length, 1003)
  t.match(
    entries.find(({ taskId }) => taskId === 'ta'),
    {
      nodeId: 'a',
      serviceId: 'web',
      stream: 'stdout',
      timestampNs: '1700000000000000001',
      attributes: { color: 'red' },
    },
  )
  const own = entries.filter(({ taskId }) => taskId === 'tb').map(({ data }) => String(data))
  t.same(
    own,
    b.executor.lines.map(({ data }) => String(data)),
    'in order',
  )
  t.equal((await read({ taskIds: ['ta'], serviceIds: [], stderr: false })).length, 2)
  t.equal((await read({ tail: 1 })).length, 2)
  t.equal((await read({ follow: true }, 1003)).length, 1003, 'and ends when the reader does')
  await until(() => manager.dispatcher!.logs.size === 0)
  t.equal((await read({ serviceIds: ['nothing'] })).length, 0)
  await close()
})

t.test('a node that starts while its cluster is away serves as before', async (t) => {
  const { nodes, authority, folder, manager, store, close } = await world(t, ['a', 'b'])
  await until(() => nodes.every((node) => Object.keys(node.weights()).length === 2))
  await until(() => store.view((tx) => tx.all('tasks')).every(({ status }) => status.isServing))
  manager.retire()
  const { executor, stateDirectory } = nodes[0]!
  await nodes[0]!.agent.close()
  for (const file of readdirSync(stateDirectory)) {
    t.equal(statSync(join(stateDirectory, file)).mode & 0o077, 0, `${file} is the agent's alone`)
  }
  t.match(readFileSync(join(stateDirectory, 'cluster.json'), 'utf8'), /t[ab]/)

  const again = new Node('a', folder, authority, ['127.0.0.1:1'], executor)
  await until(() => Object.keys(again.weights()).length === 2)
  t.ok(again.tables?.node.presharedKey, 'with the keys of the tunnels')
  t.equal(executor.calls.filter((call) => call === 'run ta').length, 1)
  t.equal(again.agent.isConnected, false)
  await again.agent.close()
  await close()
})

t.test(
  'a packet loop that starts anew is given the tables, though they are the same',
  async (t) => {
    const { nodes, store, close } = await world(t, ['a'])
    const [a] = nodes as [Node]
    await until(() => store.view((tx) => tx.get('tasks', 'ta')!.status.isServing))
    await until(() => Object.keys(a.weights()).length === 1)
    a.tables = null
    a.agent.dataPlaneLost()
    await until(() => a.tables !== null, 'the tables to be handed over')
    t.equal(Object.keys(a.weights()).length, 1)
    await close()
  },
)
