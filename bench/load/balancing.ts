// What the load balancer costs and keeps, one function per question. All time is processor time of
// this process where a single call counts, wall clock where millions do.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { FORWARD } from '../../ipvs-emulator/director.ts'
import { makeFlow } from '../../ipvs-emulator/flow.ts'
import { TCP_SYN } from '../../wire/tcp.ts'
import { BURST, Flows, service } from './flows.ts'

/** Connections that are examined for expiry in one turn of the packet loop. */
const EXPIRY_BUDGET = 512
const WORK_PER_TURN = 16

export function residentBytes(): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(line?.[1]) * 1024
}

/** Processor time of this thread so far, in milliseconds: what others do meanwhile is not in it. */
function threadMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** Establishes flows 0 up to `count`. Returns the most processor time that WORK_PER_TURN of them
 * took, in milliseconds, growth of the index and all. */
export function fill(flows: Flows, count: number): number {
  let worstMs = 0
  for (let i = 0; i < count; i += WORK_PER_TURN) {
    const start = threadMs()
    for (let k = i; k < Math.min(i + WORK_PER_TURN, count); k++) {
      const connection = flows.syn(k)
      if (connection < 0) throw new Error(`flow ${k} was refused: ${connection}`)
      flows.establish(k, connection)
    }
    worstMs = Math.max(worstMs, threadMs() - start)
  }
  return worstMs
}

/** Lets all connections expire, in turns as the packet loop takes them. Returns the most processor
 * time of a turn, in milliseconds. */
export function expire(flows: Flows): number {
  let worstMs = 0
  while (flows.director.connectionCount > 0) {
    const start = threadMs()
    const next = flows.director.advance(flows.nowMs, EXPIRY_BUDGET)
    worstMs = Math.max(worstMs, threadMs() - start)
    if (next > flows.nowMs) flows.nowMs = next
    else if (next < 0) break
  }
  if (flows.director.connectionCount > 0) throw new Error('connections are left')
  return worstMs
}

/** Nanoseconds per packet of random established flows; `announced` in bursts. */
export function established(
  flows: Flows,
  count: number,
  announced: boolean,
  seconds: number,
): number {
  let spentMs = 0
  let packets = 0
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    flows.writeBurst(count)
    const start = performance.now()
    if (announced) flows.expect()
    for (let k = 0; k < BURST; k++) if (!flows.carry(k)) throw new Error('a flow is lost')
    spentMs += performance.now() - start
    packets += BURST
  }
  return (spentMs * 1e6) / packets
}

/** Nanoseconds per new connection on top of those there are: found to be new, its service found,
 * a real server chosen, entered, its first packet tracked and rewritten. */
export function opened(flows: Flows, from: number, count: number): number {
  const connections: number[] = []
  let spentMs = 0
  for (let i = from; i < from + count; i += BURST) {
    for (let k = 0; k < BURST; k++) flows.write(k, i + k, FORWARD, TCP_SYN)
    const start = performance.now()
    for (let k = 0; k < BURST; k++) {
      const connection = flows.open(k)
      flows.pass(k, connection, FORWARD)
      connections.push(connection)
    }
    spentMs += performance.now() - start
  }
  for (const connection of connections) flows.director.end(connection)
  return (spentMs * 1e6) / connections.length
}

/** Bytes of heap per packet, garbage included, over `packets` packets of established flows. */
export function heapGrowth(flows: Flows, count: number, packets: number): number {
  let grown = 0
  const steps = 20
  for (let step = 0; step < steps; step++) {
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < packets / steps; i += BURST) {
      flows.writeBurst(count)
      flows.expect()
      for (let k = 0; k < BURST; k++) flows.carry(k)
    }
    grown += Math.max(process.memoryUsage().heapUsed - before, 0)
  }
  return grown / packets
}

const MH_SLOTS = 65521
const MH_SERVERS = 1000

export interface Rebuild {
  readonly totalMs: number
  readonly turnMs: number
  readonly applyMs: number
}

/** Takes one of 1,000 mh servers away: processor time until the new table is in force, of the
 * longest turn of the loop meanwhile, and of taking the configuration over. */
export function rebuild(): Rebuild {
  const config = service({ scheduler: 'mh', mhSlots: MH_SLOTS }, MH_SERVERS)
  const flows = new Flows(1000, config)
  const { director } = flows
  while (director.advance(flows.nowMs, EXPIRY_BUDGET) === flows.nowMs);
  const next = { ...config, realServers: config.realServers.toSpliced(500, 1) }
  const start = threadMs()
  director.apply({ services: [next] }, flows.nowMs)
  const applied = threadMs()
  let turnMs = 0
  for (;;) {
    const before = threadMs()
    const due = director.advance(flows.nowMs, EXPIRY_BUDGET)
    turnMs = Math.max(turnMs, threadMs() - before)
    if (due !== flows.nowMs) break
  }
  return { totalMs: threadMs() - start, turnMs, applyMs: applied - start }
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
  /** Nanoseconds per forged SYN once the table is full. */
  readonly synNs: number
}

/** A table half full of established flows, ten times its size of forged SYNs, and honest clients
 * among them. Flows beyond FORGED are the flood's. */
export function flood(): Flood {
  const flows = new Flows(FLOOD_TABLE, service())
  fill(flows, FLOOD_ESTABLISHED)
  const forged = 10_000_000
  let offered = 0
  let carried = 0
  let client = FLOOD_ESTABLISHED
  let spentMs = 0
  let spent = 0
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
      spentMs += performance.now() - start
      spent++
    }
  }
  let lost = 0
  for (let i = 0; i < FLOOD_ESTABLISHED; i++) if (!flows.lives(i)) lost++
  return { lost, goodput: (100 * carried) / offered, synNs: (spentMs * 1e6) / spent }
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
