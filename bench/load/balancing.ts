// What the load balancer costs and keeps, one function per question.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { FORWARD } from '../../ipvs-emulator/director.ts'
import { makeFlow } from '../../ipvs-emulator/flow.ts'
import { TCP_SYN } from '../../wire/tcp.ts'
import { median } from '../statistics.ts'
import { BURST, Flows, service } from './flows.ts'

/** Connections that are examined for expiry in one turn of the packet loop. */
const EXPIRY_BUDGET = 256
const WORK_PER_TURN = 16
/** How often a series is done whose longest call is looked for. */
const RUNS = 5

export function residentBytes(): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(line?.[1]) * 1024
}

/** The longest of a series of calls, in milliseconds, whatever else the machine does. The series
 * yields true after each such call, false after what else it has to do. It is done `runs` times;
 * what a call takes is the least of its times, since the work is the same and an interruption is
 * not. */
function longest(runs: number, series: () => Generator<boolean>): number {
  let least: number[] = []
  for (let run = 0; run < runs; run++) {
    const times: number[] = []
    const calls = series()
    for (;;) {
      const start = performance.now()
      const { done, value } = calls.next()
      if (done === true) break
      if (value) times.push(performance.now() - start)
    }
    least = run === 0 ? times : least.map((ms, i) => Math.min(ms, times[i] ?? ms))
  }
  return least.reduce((worst, ms) => Math.max(worst, ms), 0)
}

/** Establishes flows `from` up to `to`. */
export function fill(flows: Flows, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const connection = flows.syn(i)
    if (connection < 0) throw new Error(`flow ${i} was refused: ${connection}`)
    flows.establish(i, connection)
  }
}

/** Milliseconds of the longest of all openings, WORK_PER_TURN at a time, while the table grows from
 * nothing to `count`. */
export function longestOpening(count: number): number {
  return longest(RUNS, function* () {
    const flows = new Flows(count, service())
    yield false
    for (let i = 0; i < count; i += WORK_PER_TURN) {
      fill(flows, i, Math.min(i + WORK_PER_TURN, count))
      yield true
    }
  })
}

/** Milliseconds of the longest turn in which connections expire, of `count` that are all due. */
export function longestExpiry(count: number): number {
  const runs = Array.from({ length: RUNS }, () => {
    const flows = new Flows(count, service())
    fill(flows, 0, count)
    flows.nowMs = 3_600_000
    return flows
  })
  return longest(RUNS, function* () {
    const flows = runs.pop()!
    const { director } = flows
    while (director.connectionCount > 0) {
      director.advance(flows.nowMs, EXPIRY_BUDGET)
      yield true
    }
  })
}

/** Nanoseconds per packet of random established flows, in the median burst; `announced` or not. */
export function established(
  flows: Flows,
  count: number,
  announced: boolean,
  seconds: number,
): number {
  const bursts: number[] = []
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    flows.writeBurst(count)
    const start = performance.now()
    if (announced) flows.expect()
    for (let k = 0; k < BURST; k++) if (!flows.carry(k)) throw new Error('a flow is lost')
    bursts.push(performance.now() - start)
  }
  return (median(bursts) * 1e6) / BURST
}

/** Nanoseconds per new connection on top of those there are, in the median burst: found to be new,
 * its service found, a real server chosen, entered, its first packet tracked and rewritten. */
export function opened(flows: Flows, from: number, count: number): number {
  const connections: number[] = []
  const bursts: number[] = []
  for (let i = from; i < from + count; i += BURST) {
    for (let k = 0; k < BURST; k++) flows.write(k, i + k, FORWARD, TCP_SYN)
    const start = performance.now()
    for (let k = 0; k < BURST; k++) {
      const connection = flows.open(k)
      flows.pass(k, connection, FORWARD)
      connections.push(connection)
    }
    bursts.push(performance.now() - start)
  }
  for (const connection of connections) flows.director.end(connection)
  return (median(bursts) * 1e6) / BURST
}

/** Bytes of heap per packet, garbage included, over `packets` packets of established flows: the
 * median of twenty windows, for what every packet allocates shows in each of them and a late
 * compilation in one. */
export function heapGrowth(flows: Flows, count: number, packets: number): number {
  const windows: number[] = []
  const size = packets / 20
  for (let window = 0; window < 20; window++) {
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < size; i += BURST) {
      flows.writeBurst(count)
      flows.expect()
      for (let k = 0; k < BURST; k++) flows.carry(k)
    }
    windows.push((process.memoryUsage().heapUsed - before) / size)
  }
  return median(windows)
}

const MH_SLOTS = 65521
const MH_SERVERS = 1000

export interface Rebuild {
  readonly totalMs: number
  readonly turnMs: number
  readonly applyMs: number
}

/** Takes one of 1,000 mh servers away: time until the new table is in force, the longest turn of
 * the loop meanwhile, and what taking the configuration over takes. */
export function rebuild(): Rebuild {
  const config = service({ scheduler: 'mh', mhSlots: MH_SLOTS }, MH_SERVERS)
  const next = { ...config, realServers: config.realServers.toSpliced(500, 1) }
  const { director, nowMs } = new Flows(1000, config)
  const totals: number[] = []
  const applies: number[] = []
  const turnMs = longest(RUNS, function* () {
    director.apply({ services: [config] }, nowMs)
    while (director.advance(nowMs, EXPIRY_BUDGET) === nowMs);
    const start = performance.now()
    director.apply({ services: [next] }, nowMs)
    applies.push(performance.now() - start)
    yield false
    while (director.advance(nowMs, EXPIRY_BUDGET) === nowMs) yield true
    totals.push(performance.now() - start)
  })
  return { totalMs: Math.min(...totals), turnMs, applyMs: Math.min(...applies) }
}

const MOVED_SERVERS = 100
const MOVED_CLIENTS = 100_000

/** Share of clients, in percent, that another server gets although theirs stays, when one of 100
 * goes. */
export function moved(): number {
  const config = service({ scheduler: 'mh', mhSlots: MH_SLOTS }, MOVED_SERVERS)
  const flows = new Flows(1000, config)
  const { director } = flows
  const flow = makeFlow()
  const settle = (): void => {
    while (director.advance(flows.nowMs, EXPIRY_BUDGET) === flows.nowMs);
  }
  const choices = (): string[] => {
    const pool = director.services.services[director.serviceIndex('web')]!.pools[0]!
    return Array.from({ length: MOVED_CLIENTS }, (_, i) => {
      flow.source[0] = Math.imul(i + 1, 0x9e3779b1)
      return pool.scheduler.schedule(pool, flow, flows.random, 0)!.key
    })
  }
  settle()
  const before = choices()
  const realServers = config.realServers.toSpliced(MOVED_SERVERS / 2, 1)
  director.apply({ services: [{ ...config, realServers }] }, flows.nowMs)
  settle()
  const after = choices()
  const kept = new Set(realServers.map(({ key }) => key))
  const needless = before.filter((key, i) => kept.has(key) && key !== after[i]).length
  return (100 * needless) / MOVED_CLIENTS
}

const FLOOD_TABLE = 100_000
const FLOOD_ESTABLISHED = 50_000
const FLOOD_FACTOR = 10
/** Forged SYNs per packet of an established flow, and per new client. */
const FLOOD_PER_PACKET = 10
const FLOOD_PER_CLIENT = 100
/** Forged SYNs during a new client's handshake. */
const FLOOD_PER_HANDSHAKE = 50
const FLOOD_PER_MS = 100

export interface Flood {
  readonly lost: number
  /** Percent of the honest packets and handshakes that went through. */
  readonly goodput: number
  /** Nanoseconds of a forged SYN once the table is full. */
  readonly synNs: number
}

/** A table half full of established flows, ten times its size of forged SYNs, and honest clients
 * among them. Flows beyond FORGED are the flood's. */
export function flood(): Flood {
  const flows = new Flows(FLOOD_TABLE, service())
  fill(flows, 0, FLOOD_ESTABLISHED)
  const forged = 10_000_000
  let offered = 0
  let carried = 0
  let client = FLOOD_ESTABLISHED
  const spentMs: number[] = []
  for (let i = 0; i < FLOOD_FACTOR * FLOOD_TABLE; i++) {
    if (i % FLOOD_PER_MS === 0) {
      flows.nowMs++
      flows.director.advance(flows.nowMs, EXPIRY_BUDGET)
    }
    if (i % FLOOD_PER_PACKET === 0) {
      offered++
      if (flows.lives(flows.random() % FLOOD_ESTABLISHED)) carried++
    }
    if (i % FLOOD_PER_CLIENT === 0) flows.syn(client)
    if (i % FLOOD_PER_CLIENT === FLOOD_PER_HANDSHAKE) {
      offered++
      if (finish(flows, client)) carried++
      client++
    }
    if (i < FLOOD_TABLE) flows.syn(forged + i)
    else {
      const start = performance.now()
      flows.syn(forged + i)
      spentMs.push(performance.now() - start)
    }
  }
  let lost = 0
  for (let i = 0; i < FLOOD_ESTABLISHED; i++) if (!flows.lives(i)) lost++
  return { lost, goodput: (100 * carried) / offered, synNs: median(spentMs) * 1e6 }
}

/** The rest of an honest client's handshake, a request, and the end. */
function finish(flows: Flows, client: number): boolean {
  flows.write(0, client, FORWARD, TCP_SYN)
  const connection = flows.find(0)
  if (connection < 0) return false
  flows.establish(client, connection)
  const lives = flows.lives(client)
  flows.director.end(connection)
  return lives
}
