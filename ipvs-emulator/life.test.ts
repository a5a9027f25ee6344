// Goal: whatever happens, the counters say what is in the table, and in the end nothing is left: no
// entry, template, count or real server. Method: random lives of a director (packets with all
// flags, replies, errors, changes of services, settings, time, restarts), and after each step
// everything that is counted is counted anew from the entries themselves.

import t from 'tap'
import { assert } from '../base/assert.ts'
import { type Prng, prng } from '../base/prng.ts'
import type { RealServerConfig, ServiceConfig } from './config.ts'
import {
  ACTIVE,
  CONTROLLER,
  FLAGS_BYTE,
  PROTOCOL_BYTE,
  SERVER,
  STATE_BYTE,
  TEMPLATE,
} from './conn-table.ts'
import { HELD } from './connections.ts'
import { Director, FORWARD } from './director.ts'
import { SCTP, TCP, UDP } from './flow.ts'
import { loadFlows, saveFlows } from './flow-state.ts'
import { NETS, type Net, ZONE } from './lab-fixture.ts'
import { listConnections } from './listing.ts'
import { build, buildError, checksumsHold, type Fields, type Packet } from './packet-fixture.ts'
import { SCHEDULERS } from './sched.ts'
import { STATE_COUNT_CELLS, stateCell } from './state-counts.ts'
import { ACTIVE_CONNECTIONS } from './statistics.ts'

const STEPS = 400
const LIVES = 60
const REPLY_ZONE = 3
const FLAGS = [2, 2, 16, 17, 4, 20, 18, 0, 3, 24, 255, 41]
const CHUNKS = [1, 1, 2, 10, 11, 7, 8, 14, 0, 6, 3, 77]
const WAITS = [50, 100, 1000, 5000, 70_000, 1_000_000]

/** Active, inactive, templates. */
type Load = [number, number, number]

class Life {
  private readonly random: Prng
  private readonly capacity: number
  private readonly sent: Fields[] = []
  private nowMs = 1000
  private states = new Float64Array(STATE_COUNT_CELLS)
  director: Director

  constructor(seed: number) {
    this.random = prng(seed)
    this.capacity = this.pick([16, 64, 512])
    this.director = this.born()
    this.configure()
  }

  private pick<T>(from: readonly T[]): T {
    return from[this.random.nextU32() % from.length]!
  }

  private chance(outOf: number): boolean {
    return this.random.nextU32() % outOf === 0
  }

  private born(): Director {
    this.states = new Float64Array(STATE_COUNT_CELLS)
    const director = new Director({
      nowMs: this.nowMs,
      random: () => this.random.nextU32(),
      connectionsMax: this.capacity,
      states: this.states,
      orphan: (connection) => this.chance(2) && director.retry(connection, this.nowMs) >= 0,
      probe: () => {},
    })
    return director
  }

  step(): void {
    const number = this.random.nextU32() % 100
    if (number < 45) this.request()
    else if (number < 75) this.reply()
    else if (number < 80) this.error()
    else if (number < 90) this.wait()
    else if (number < 93) this.configure()
    else if (number < 95) this.change()
    else if (number < 97) this.end()
    else if (number < 98) this.restart()
    else this.director.timeouts.set(this.pick([0, 5, 900]), this.pick([0, 5]), this.pick([0, 5]))
    this.audit()
  }

  private configure(): void {
    const services = Object.entries(NETS).flatMap(([name, net]) =>
      ['web', 'any', 'mark'].flatMap((kind) =>
        this.chance(6) ? [] : [this.service(`${name} ${kind}`, kind, net)],
      ),
    )
    this.director.apply({ services }, this.nowMs)
  }

  private service(key: string, kind: string, net: Net): ServiceConfig {
    const port = kind === 'web' ? 80 : 0
    const masquerade = { masquerade4: NETS.v4!.gateway, masquerade6: NETS.v6!.gateway }
    const protocols = kind === 'mark' ? [] : (['tcp', 'udp', 'sctp'] as const)
    return {
      key,
      zone: ZONE,
      replyZone: this.pick([ZONE, ZONE, REPLY_ZONE]),
      scheduler: this.pick([...SCHEDULERS.keys()]),
      virtuals: protocols.map((protocol) => ({ protocol, address: net.vip, port })),
      mark: kind === 'mark' ? markOf(net) : 0,
      persistenceSeconds: this.pick([0, 0, 5, 60]),
      persistencePrefix4: this.pick([32, 24, 0]),
      persistencePrefix6: this.pick([128, 64, 0]),
      onePacket: this.chance(3),
      idleSeconds: this.pick([0, 0, 20]),
      retryRefused: this.chance(2),
      ...(this.chance(2) ? masquerade : {}),
      realServers: net.servers.filter(() => !this.chance(4)).map((one) => this.server(one)),
    }
  }

  private server(address: string): RealServerConfig {
    return {
      key: address,
      address,
      port: this.pick([8080, 8080, 0]),
      weight: this.pick([0, 1, 1, 3]),
      tier: this.pick([0, 0, 1]),
      slowStartSeconds: this.pick([0, 0, 10]),
      upperThreshold: this.pick([0, 0, 5]),
      lowerThreshold: this.pick([0, 0, 3]),
    }
  }

  /** What a packet is filled with. */
  private content(): Pick<Fields, 'flags' | 'chunk' | 'payload' | 'sequence' | 'acknowledgement'> {
    return {
      flags: this.pick(FLAGS),
      chunk: this.pick(CHUNKS),
      payload: new Uint8Array(this.random.nextU32() % 30),
      sequence: this.random.nextU32(),
      acknowledgement: this.random.nextU32(),
    }
  }

  private request(): void {
    const net = this.pick([NETS.v4!, NETS.v6!])
    const number = this.random.nextU32() % 40
    const client =
      net === NETS.v4
        ? `10.0.${number & 3}.${100 + (number >> 2)}`
        : `fd00::${number & 3}:${100 + (number >> 2)}`
    const fields = {
      ...this.content(),
      protocol: this.pick([TCP, TCP, TCP, UDP, SCTP]),
      source: this.chance(8) ? this.pick(net.servers) : client,
      target: net.vip,
      sourcePort: this.pick([0, 1, 2, 3, 1024]),
      targetPort: this.pick([80, 80, 81, 0]),
    }
    this.send(fields, ZONE, this.chance(4) ? markOf(net) : 0)
  }

  private reply(): void {
    if (this.sent.length === 0) return
    const { protocol, source, target, sourcePort, targetPort } = this.pick(this.sent)
    const net = source.includes(':') ? NETS.v6! : NETS.v4!
    const fields = {
      ...this.content(),
      protocol,
      source: target === net.vip ? this.pick(net.servers) : target,
      target: source,
      sourcePort: this.pick([8080, targetPort]),
      targetPort: sourcePort,
    }
    this.send(fields, this.pick([ZONE, REPLY_ZONE]), 0)
  }

  private send(fields: Fields, zone: number, mark: number): void {
    const { director, nowMs } = this
    const packet = build(fields)
    const { view, ipAt, l4At, end, protocol } = packet
    let connection = director.lookup(zone, view, ipAt, l4At, protocol, end)
    let { direction } = director
    if (connection < 0) {
      const service = director.findService(zone, view, ipAt, l4At, protocol, mark)
      direction = FORWARD
      connection = service < 0 ? this.track(packet, zone) : this.schedule(packet, zone, service)
      if (connection < 0) return
    }
    assert(director.holds(connection), 'what is found is held')
    if (this.chance(10) && director.retry(connection, nowMs) >= 0) return
    director.translate(connection, direction, view, ipAt, l4At, end, false)
    director.track(connection, direction, view, ipAt, l4At, end, 1, end - ipAt, nowMs)
    assert(checksumsHold(packet), 'translated checksums hold')
    this.sent.push(fields)
    if (this.sent.length > 50) this.sent.shift()
  }

  private schedule({ view, ipAt, l4At, end, protocol }: Packet, zone: number, to: number): number {
    const { director, nowMs } = this
    const masquerade = this.chance(4)
    return director.schedule(zone, to, view, ipAt, l4At, protocol, end, nowMs, masquerade)
  }

  private track({ view, ipAt, l4At, end, protocol }: Packet, zone: number): number {
    if (this.chance(3)) return -1
    return this.director.insertTracked(zone, zone, view, ipAt, l4At, protocol, end, this.nowMs)
  }

  private error(): void {
    if (this.sent.length === 0) return
    const quoted = build(this.pick(this.sent))
    const net = quoted.view.getUint8(quoted.ipAt) >> 4 === 6 ? NETS.v6! : NETS.v4!
    const size = 28 + (this.random.nextU32() % 40)
    const { view, ipAt, l4At, end } = buildError(this.pick(net.servers), net.client, quoted, size)
    if (this.chance(3)) {
      view.setUint8(l4At + 8 + (this.random.nextU32() % 28), this.random.nextU32() & 255)
    }
    const cut = this.chance(3) ? this.random.nextU32() % 20 : 0
    this.director.relatedIcmp(this.pick([ZONE, REPLY_ZONE]), view, ipAt, l4At, end - cut)
  }

  private wait(): void {
    this.nowMs += this.pick(WAITS)
    const budget = this.pick([1, 10, 1000])
    for (let i = 0; i < 30 && this.director.advance(this.nowMs, budget) === this.nowMs; i++);
  }

  private change(): void {
    Object.assign(this.director.settings, {
      connReuseMode: this.pick([0, 1, 2, 3]),
      expireNodestConn: this.chance(2),
      expireQuiescentTemplate: this.chance(2),
      sloppyTcp: this.chance(3),
      sloppySctp: this.chance(3),
      dropEntry: this.pick([0, 1, 3]),
      dropPacket: this.pick([0, 1, 3]),
      secureTcp: this.pick([0, 1, 3]),
    })
  }

  private end(): void {
    const connection = this.director.nextConnection(this.random.nextU32() % 100)
    if (connection < 0) return
    const { bytes, stride } = this.director.connections.tables[connection & 1]!
    const flags = bytes[(connection >>> 1) * stride * 4 + FLAGS_BYTE]!
    if ((flags & TEMPLATE) === 0) this.director.end(connection)
  }

  private restart(): void {
    const bytes = saveFlows(this.director)
    const services = this.director.services.services.flatMap((service) =>
      service === null || service.gone ? [] : [service.config],
    )
    this.director = this.born()
    this.director.apply({ services }, this.nowMs)
    loadFlows(this.director, bytes, this.pick([0, 1000, 100_000]))
  }

  /** Counts everything anew. */
  private audit(): void {
    const states = new Float64Array(STATE_COUNT_CELLS)
    const loads = new Map<number, Load>()
    for (const family of [0, 1]) this.auditTable(family, states, loads)
    assert(this.states.join() === states.join(), 'connections by state')
    const sum = [...loads.values()].flat().reduce((total, one) => total + one, 0)
    this.auditServers(loads)
    const listed = listConnections(this.director, 1e6)
    assert(listed.length === sum, 'the listing has what the real servers have')
  }

  private auditTable(family: number, states: Float64Array, loads: Map<number, Load>): void {
    const table = this.director.connections.tables[family]!
    const { bytes, records, stride } = table
    const held = new Map<number, number>()
    const templates: number[] = []
    let used = 0
    for (let entry = 1; entry < table.high; entry++) {
      const at = entry * stride
      const protocol = bytes[at * 4 + PROTOCOL_BYTE]!
      if (protocol === 0) continue
      used++
      const flags = bytes[at * 4 + FLAGS_BYTE]!
      const isTemplate = (flags & TEMPLATE) !== 0
      if (isTemplate) templates.push(entry)
      else {
        states[stateCell(protocol, bytes[at * 4 + STATE_BYTE]!)]!++
        const controller = records[at + CONTROLLER]!
        if (controller !== 0) held.set(controller, (held.get(controller) ?? 0) + 1)
      }
      const server = records[at + SERVER]!
      if (server === 0) continue
      const load = loads.get(server) ?? [0, 0, 0]
      load[isTemplate ? 2 : (flags & ACTIVE) !== 0 ? 0 : 1]++
      loads.set(server, load)
    }
    assert(used === table.count, 'entries in use are counted')
    for (const controller of held.keys()) {
      assert(templates.includes(controller), 'what controls connections is a template')
    }
    for (const entry of templates) {
      const count = records[entry * stride + HELD]
      assert(count === (held.get(entry) ?? 0), 'a template counts what it controls')
    }
  }

  private auditServers(loads: Map<number, Load>): void {
    const { services, servers, statistics, goneCount } = this.director.services
    const sums = new Map<number, Load>()
    const gauges = (row: number): string =>
      [0, 1, 2].map((i) => statistics.get(row, ACTIVE_CONNECTIONS + i)).join()
    let gone = 0
    for (const server of servers) {
      if (server === null) continue
      const load = loads.get(server.index) ?? [0, 0, 0]
      loads.delete(server.index)
      const own = [server.active, server.inactive, server.templates].join()
      assert(own === load.join() && gauges(server.row) === own, `load of ${server.key}`)
      if (server.gone) gone++
      assert(!server.gone || own !== '0,0,0', 'who is gone and has nothing is forgotten')
      const sum = sums.get(server.pool.service.index) ?? [0, 0, 0]
      for (const i of [0, 1, 2] as const) sum[i] += load[i]
      sums.set(server.pool.service.index, sum)
    }
    assert(loads.size === 0, 'connections name real servers that there are')
    assert(gone === goneCount, 'real servers that are gone are counted')
    for (const service of services) {
      if (service === null) continue
      const sum = sums.get(service.index) ?? [0, 0, 0]
      assert(gauges(service.row) === sum.join(), `load of ${service.key}`)
    }
  }

  /** Lets everything end. */
  finish(): void {
    for (let turn = 0; turn < 5000 && this.director.connectionCount > 0; turn++) {
      if (this.director.advance(this.nowMs, 1000) !== this.nowMs) this.nowMs += 60_000
    }
    this.audit()
  }
}

function markOf(net: Net): number {
  return net === NETS.v4 ? 5 : 6
}

t.test('everything is counted, and everything ends', async (t) => {
  let entries = 0
  for (let seed = 1; seed <= LIVES; seed++) {
    const life = new Life(seed)
    try {
      for (let i = 0; i < STEPS; i++) {
        life.step()
        entries += life.director.connectionCount
      }
      life.finish()
    } catch (error) {
      t.fail(`seed ${seed}: ${(error as Error).message}`)
      continue
    }
    const { connectionCount, services } = life.director
    t.equal(connectionCount + services.goneCount, 0, `seed ${seed}: nothing is left`)
  }
  t.ok(entries / LIVES / STEPS > 5, `${(entries / LIVES / STEPS).toFixed(1)} entries on average`)
})
