// Goal: the page tells what the counters say, under conventional names, and the server answers
// nothing else. Method: a real server on loopback over counters filled by hand; promtool judges the
// page.

import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import t from 'tap'
import {
  Counters,
  counterMemory,
  DROP_CELLS,
  ENGINE_CELLS,
  FLOWS_NEW,
  RX_BYTES,
  STATE_CELLS,
  TX_PACKETS,
} from '../dataplane/counters.ts'
import { DROP_BAD_TAG } from '../dataplane/drop-reasons.ts'
import { TCP } from '../ipvs-emulator/flow.ts'
import { stateCell } from '../ipvs-emulator/state-counts.ts'
import {
  ACTIVE_CONNECTIONS,
  CONNECTIONS,
  INACTIVE_CONNECTIONS,
  PERSISTENT_CONNECTIONS,
  STATISTICS_COLUMNS,
} from '../ipvs-emulator/statistics-columns.ts'
import { type MetricsServer, parseListenAddress, serveMetrics } from './metrics-server.ts'

interface Fixture {
  readonly counters: Counters
  readonly server: MetricsServer
  readonly statistics: Float64Array
}

/** Two addresses of one backend, and one that drains. */
const ROWS = {
  backends: ['web/web.1', 'web/web.1', 'web/web.2'],
  rows: Int32Array.of(3, 5, 4),
  weights: Int32Array.of(1, 1, 0),
}

async function serve(test: { teardown: typeof t.teardown }): Promise<Fixture> {
  const memory = counterMemory(64)
  const counters = new Counters(memory)
  const statistics = new SharedArrayBuffer(8 * STATISTICS_COLUMNS * 8)
  const engine = {
    counters: memory,
    counterRows: () => counters.list(),
    statistics,
    balancerRows: () => ROWS,
  }
  const source = { engine, version: '0.1.0', reloadFailures: () => 3 }
  const server = await serveMetrics({ host: '127.0.0.1', port: 0 }, source)
  test.teardown(() => server.close())
  return { counters, server, statistics: new Float64Array(statistics) }
}

t.test('listen addresses', async (t) => {
  const rows: readonly (readonly [string, string, number])[] = [
    ['9323', '127.0.0.1', 9323],
    [':9323', '127.0.0.1', 9323],
    ['0.0.0.0:80', '0.0.0.0', 80],
    ['[::1]:0', '::1', 0],
    ['[FD00:0::1]:65535', 'fd00::1', 65535],
  ]
  for (const [text, host, port] of rows)
    t.strictSame(parseListenAddress(text), { host, port }, text)
  for (const text of [
    '',
    'x',
    'localhost:80',
    '127.0.0.1',
    '::1:80',
    '1.2.3.4:65536',
    '[1.2.3.4]:80',
  ]) {
    t.equal(parseListenAddress(text), null, text)
  }
})

t.test('the page tells what the counters say', async (t) => {
  const { counters, server, statistics } = await serve(t)
  const { cells } = counters
  statistics[CONNECTIONS] = 11
  statistics[3 * STATISTICS_COLUMNS + ACTIVE_CONNECTIONS] = 2
  statistics[5 * STATISTICS_COLUMNS + ACTIVE_CONNECTIONS] = 3
  statistics[5 * STATISTICS_COLUMNS + PERSISTENT_CONNECTIONS] = 6
  statistics[4 * STATISTICS_COLUMNS + INACTIVE_CONNECTIONS] = 4
  statistics[4 * STATISTICS_COLUMNS + ACTIVE_CONNECTIONS] = 1
  cells[STATE_CELLS + stateCell(TCP, 1)] = 12
  cells[ENGINE_CELLS.droppedNew] = 13
  cells[counters.row('network', 'front') + RX_BYTES] = 1400
  cells[counters.row('peer', 'host2') + TX_PACKETS] = 2 ** 52
  cells[counters.row('vip', 'web/fd00:1::2') + FLOWS_NEW] = 5
  cells[counters.row('backend', 'web/web.1') + RX_BYTES] = 7
  cells[counters.row('published', 'tcp/8080') + RX_BYTES] = 8
  cells[ENGINE_CELLS.flowsOpen] = 4
  cells[ENGINE_CELLS.waitSeconds] = 1.5
  cells[ENGINE_CELLS.handshakesFailed] = 2
  cells[ENGINE_CELLS.tablesVersion] = 7
  cells[DROP_CELLS + DROP_BAD_TAG] = 9
  const response = await fetch(server.url)
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  const page = await response.text()
  const lines = page.split('\n')
  for (const line of [
    'weft_network_receive_bytes_total{network="front"} 1400',
    'weft_network_receive_bytes_per_second{network="front"} 0',
    'weft_peer_transmit_packets_total{peer="host2"} 4503599627370496',
    'weft_vip_flows_new_total{service="web",vip="fd00:1::2"} 5',
    'weft_backend_receive_bytes_total{service="web",backend="web.1"} 7',
    'weft_published_port_receive_bytes_total{protocol="tcp",port="8080"} 8',
    'weft_flows_open 4',
    'weft_flows{protocol="tcp",state="established"} 12',
    'weft_defence_drops_total{defence="drop_packet"} 13',
    'weft_balancer_flows_new_total 11',
    'weft_balancer_flows_new_per_second 0',
    'weft_backend_flows_active{service="web",backend="web.1"} 5',
    'weft_backend_flows_active{service="web",backend="web.2"} 1',
    'weft_backend_persistent_clients{service="web",backend="web.1"} 6',
    'weft_backend_draining_flows{service="web",backend="web.2"} 5',
    'weft_vip_flows_new_per_second{service="web",vip="fd00:1::2"} 0',
    'weft_loop_seconds_total{phase="wait"} 1.5',
    'weft_handshakes_total{result="failed"} 2',
    'weft_tables_version 7',
    'weft_tables_reload_failures_total 3',
    'weft_drops_total{reason="bad_tag"} 9',
    'weft_drops_total{reason="truncated"} 0',
    `weft_build_info{version="0.1.0",node="${process.version}"} 1`,
  ]) {
    t.ok(lines.includes(line), line)
  }
  t.notOk(page.includes('reason="none"'))
  t.notOk(page.includes('weft_backend_draining_flows{service="web",backend="web.1"}'))
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_open_fds',
  ]) {
    t.ok(Number(new RegExp(`^${name} (.*)$`, 'm').exec(page)?.[1]) > 0, name)
  }
  counters.retain('network', new Set())
  const later = await (await fetch(server.url)).text()
  t.notOk(later.includes('network="front"'), 'what is gone is not told')
})

const noPromtool =
  spawnSync('promtool', ['--version']).error === undefined
    ? false
    : 'promtool (Debian package prometheus) is not installed'

t.test('promtool finds no fault', { skip: noPromtool }, async (t) => {
  const { counters, server } = await serve(t)
  for (const kind of ['network', 'peer'] as const) counters.row(kind, 'x')
  for (const kind of ['vip', 'backend', 'published'] as const) counters.row(kind, 'x/1')
  const page = await (await fetch(server.url)).text()
  const run = spawnSync('promtool', ['check', 'metrics'], { input: page, encoding: 'utf8' })
  t.equal(`${run.stdout}${run.stderr}`, '')
  t.equal(run.status, 0)
})

t.test('nothing else is answered', async (t) => {
  const { server } = await serve(t)
  const status = async (path: string, init?: RequestInit): Promise<number> =>
    (await fetch(new URL(path, server.url), init)).status
  t.equal(await status('/'), 404)
  t.equal(await status('/metrics/x'), 404)
  t.equal(await status('/metrics?x=1'), 200)
  for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS']) {
    t.equal(await status('/metrics', { method }), 405, method)
  }
  t.equal(await status('/metrics', { method: 'POST', body: 'x'.repeat(100_000) }), 405)
  t.equal(await status('/metrics', { headers: { big: 'x'.repeat(10_000) } }).catch(() => 0), 0)
  t.equal(await status('/metrics'), 200, 'and it goes on')
})

t.test('an address that is taken is a sentence', async (t) => {
  const { server } = await serve(t)
  const port = Number(new URL(server.url).port)
  const memory = counterMemory(1)
  const engine = {
    counters: memory,
    counterRows: () => [],
    statistics: new SharedArrayBuffer(64),
    balancerRows: () => ROWS,
  }
  const source = { engine, version: 'x', reloadFailures: () => 0 }
  await t.rejects(
    serveMetrics({ host: '127.0.0.1', port }, source),
    new Error(`cannot serve metrics on 127.0.0.1:${port}: another process listens there`),
  )
  await t.rejects(
    serveMetrics({ host: '192.0.2.1', port: 1 }, source),
    new Error('cannot serve metrics on 192.0.2.1:1: this machine does not have the address'),
  )
})

t.test('close ends open connections', async (t) => {
  const { server } = await serve(t)
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  await new Promise((done) => socket.once('connect', done))
  const ended = new Promise((done) => socket.once('close', done))
  socket.on('error', () => {})
  await server.close()
  await ended
  await t.rejects(fetch(server.url))
})
