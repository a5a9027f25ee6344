// Goal: the agent's tables reach the packet loop: the first start it, later ones are swapped in,
// single bad items are told by their paths, and counters and places come back. Method: an engine
// that only remembers.

import t from 'tap'
import { silentLogger } from '../base/log.ts'
import { TablesRefused } from '../controlplane/agent/tables-sync.ts'
import type { CompiledTables } from '../dataplane/compiled.ts'
import { Counters, counterMemory, RX_PACKETS, TX_PACKETS } from '../dataplane/counters.ts'
import type { EngineHandle } from '../dataplane/engine-handle.ts'
import type { ForwardingTables } from '../dataplane/tables.ts'
import { EngineDataPlane } from './engine-data-plane.ts'

const key = (byte: number): string => Buffer.alloc(32, byte).toString('base64')

function scene() {
  const counters = counterMemory(16)
  const rows = new Counters(counters)
  const started: CompiledTables[] = []
  const swapped: CompiledTables[] = []
  const engine: Partial<EngineHandle> = {
    counters,
    counterRows: () => rows.list(),
    start: async (tables) => void started.push(tables),
    swap: async (tables) => void swapped.push(tables),
    ask: (async (name: string, given: { endpoint: string } | null) =>
      name === 'drain'
        ? { flows: given?.endpoint === 'web.1' ? 3 : 0 }
        : [{ name: 'b', endpoint: '192.0.2.7:4789' }]) as EngineHandle['ask'],
  }
  const plane = new EngineDataPlane(engine as EngineHandle, {
    nodeId: 'a',
    engine: { runDirectory: '/', captures: new Map(), log: silentLogger, onFailure: () => {} },
    schedulers: ['rr'],
    privateKey: key(1),
    tunnel: { publicKey: key(9), endpoint: null, zone: 'rack1' },
    defaultPort: 4789,
    addresses: () => ['192.0.2.1'],
    gatewayInterface: () => null,
  })
  const facts = { managers: [], tunnelKeys: [key(3), key(2)], dataPathPort: 4800 }
  const tables = (changes: Partial<ForwardingTables> = {}): ForwardingTables => ({
    version: 1,
    node: plane.localNode(facts),
    peers: [{ name: 'b', publicKey: key(7) }],
    networks: [],
    endpoints: [],
    services: [],
    publishedPorts: [],
    ...changes,
  })
  return { plane, rows, started, swapped, tables }
}

t.test('tables', async (t) => {
  const { plane, started, swapped, tables } = scene()
  t.same([...plane.traffic()], [])
  await plane.apply(tables())
  await plane.apply(tables({ version: 2 }))
  t.same([started.length, swapped.length], [1, 1])
  const { node } = started[0]!
  t.same([node.listenPort, node.presharedKeys.length, node.name], [4800, 2, 'a'])
  const bad = tables({ peers: [{ name: 'b' }] })
  const error = await plane.apply(bad).then(
    () => null,
    (refusal) => refusal,
  )
  t.ok(error instanceof TablesRefused)
  t.equal(error.problems[0]?.path, 'peers[0]')
})

t.test('what comes back', async (t) => {
  const { plane, rows, tables } = scene()
  await plane.apply(tables())
  const row = rows.row('peer', 'b')
  rows.cells[row + RX_PACKETS] = 5
  rows.cells[row + TX_PACKETS] = 6
  rows.row('vip', 'web')
  t.same([...plane.traffic()], [{ nodeId: 'b', received: 5, sent: 6 }])
  t.same(
    [...(await plane.flows(['web.1', 'web.2']))],
    [
      ['web.1', 3],
      ['web.2', 0],
    ],
  )
  plane.seen()
  await new Promise((resolve) => setImmediate(resolve))
  t.same([...plane.seen()], [{ nodeId: 'b', endpoint: '192.0.2.7:4789' }])
})
