// A cluster of members as processes, each in a network namespace of its own, with clients that
// write and read all the time and remember what they were told.
//
//       m1      m2      m3 ...           two links each: one for members, which is what a
//       ├───────┼───────┤   members      partition cuts, one for clients, who can then still ask
//       └───────┴───────┘   clients      somebody who was cut off
//
// Every client does one thing after the other: it puts a new value into one of a few registers,
// puts a key that nobody else uses, or reads a register, of any member. What is not answered may
// have happened or not. In the end all acknowledged keys must be there on every member, and the
// history of the registers must be linearizable.

import { mkdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Prng, prng } from '../../base/prng.ts'
import { KvClient } from '../../bench/raft/kv-client.ts'
import { CLUSTER, type MemberProcess, ProcessCluster } from '../../bench/raft/processes.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { must } from '../../cli/lab/process.ts'
import { findAnomaly, type Operation } from '../sim/linearizability.ts'

const MEMBER_PORT = 4001
const CLIENT_PORT = 4002
const REGISTERS = 4
const CALL_MS = 2_000
const PAUSE_MS = 15
/** Values of different clients differ. */
const VALUES_PER_CLIENT = 1_000_000

/** A Put that a member refused because it does not lead certainly did nothing. */
const REFUSED = /this member does not lead/

interface Call extends Operation {
  value: number
  returned: number
}

export class RaftScene {
  readonly cluster: ProcessCluster
  readonly members: readonly MemberProcess[]
  readonly #lab: Lab
  readonly #ports: readonly string[]
  readonly #random: Prng
  readonly #history: Call[] = []
  readonly #acknowledged: string[] = []
  readonly #clients: Promise<void>[] = []
  #moments = 0
  #value = Buffer.alloc(0)
  #running = true
  /** Calls answered, and calls whose end is not known. */
  answered = 0
  unknown = 0

  private constructor(lab: Lab, cluster: ProcessCluster, ports: readonly string[], random: Prng) {
    this.#lab = lab
    this.cluster = cluster
    this.members = cluster.members
    this.#ports = ports
    this.#random = random
  }

  static async start(lab: Lab, count: number, seed: number): Promise<RaftScene> {
    const names = Array.from({ length: count }, (_, i) => `m${i + 1}`)
    const hosts = await lab.hostsNamed(...names)
    const peers = await lab.bridge(hosts, { ipv6: false })
    const clients = await lab.bridge(hosts, { ipv6: false })
    const own = `${clients.prefix}254/24`
    await must(['ip', 'addr', 'add', own, 'dev', clients.bridge!])
    mkdirSync(`${lab.folder}/raft`, { recursive: true })
    const snapshots = { snapshotEntries: 500, keptEntries: 50 }
    const cluster = new ProcessCluster(`${lab.folder}/raft`, snapshots)
    for (const host of hosts) {
      cluster.add({
        name: host.name,
        address: `${host.addresses[0]}:${MEMBER_PORT}`,
        clients: `${host.addresses[1]}:${CLIENT_PORT}`,
        prefix: ['nsenter', `--net=${host.netns}`, '--'],
      })
    }
    await cluster.found()
    const ports = names.map((_, i) => `${peers.bridge}p${i + 1}`)
    return new RaftScene(lab, cluster, ports, prng(seed))
  }

  /** Lets `count` clients loose; the keys of their own get values of `valueBytes`. */
  write(count: number, valueBytes = 1): void {
    this.#value = Buffer.alloc(valueBytes, 120)
    for (let client = 1; client <= count; client++) {
      this.#clients.push(this.#client(client, prng(this.#random.nextU32())))
    }
  }

  async #client(client: number, random: Prng): Promise<void> {
    const connections = this.members.map(({ setup }) => new KvClient(setup.clients))
    let target = random.below(connections.length)
    for (let sequence = 1; this.#running; sequence++) {
      const dice = random.below(10)
      const key = random.below(REGISTERS)
      let goesOn: boolean
      if (dice < 4) goesOn = await this.#put(connections[target]!, client, key, sequence)
      else if (dice < 6) goesOn = await this.#putKey(connections[target]!, client, sequence)
      else goesOn = await this.#get(connections[random.below(connections.length)]!, client, key)
      if (!goesOn) {
        target = random.below(connections.length)
        await sleep(PAUSE_MS)
      }
    }
    for (const connection of connections) connection.close()
  }

  #called(kind: Operation['kind'], client: number, key: number, value: number): Call {
    const returned = Number.POSITIVE_INFINITY
    const call: Call = { kind, client, key, value, called: ++this.#moments, returned }
    this.#history.push(call)
    return call
  }

  async #put(connection: KvClient, client: number, key: number, nth: number): Promise<boolean> {
    const value = client * VALUES_PER_CLIENT + nth
    const call = this.#called('write', client, key, value)
    try {
      await connection.put(Buffer.from(`r${key}`), Buffer.from(String(value)), CALL_MS)
      call.returned = ++this.#moments
      this.answered++
      return true
    } catch (error) {
      if (REFUSED.test((error as Error).message))
        this.#history.splice(this.#history.lastIndexOf(call), 1)
      else this.unknown++
      return false
    }
  }

  async #putKey(connection: KvClient, client: number, sequence: number): Promise<boolean> {
    const key = `k${client}-${sequence}`
    try {
      await connection.put(Buffer.from(key), this.#value, CALL_MS)
      this.#acknowledged.push(key)
      this.answered++
      return true
    } catch {
      return false
    }
  }

  async #get(connection: KvClient, client: number, key: number): Promise<boolean> {
    const call = this.#called('read', client, key, 0)
    try {
      const value = await connection.get(Buffer.from(`r${key}`), CALL_MS)
      call.value = value === null ? 0 : Number(Buffer.from(value).toString())
      call.returned = ++this.#moments
      this.answered++
    } catch {
      // A read without an answer says nothing.
      this.#history.splice(this.#history.lastIndexOf(call), 1)
    }
    // Reads go anywhere; they do not say who leads.
    return true
  }

  async restart(member: MemberProcess): Promise<void> {
    await member.start({ kind: 'restart', clusterId: CLUSTER, nodeId: member.setup.name })
  }

  /** Cuts a member off from the others, or joins it again. */
  async cut(member: MemberProcess, isCut: boolean): Promise<void> {
    const port = this.#ports[this.members.indexOf(member)]!
    await must(['ip', 'link', 'set', port, isCut ? 'down' : 'up'])
  }

  /** Heals everything, stops the clients, and looks: null, or what is wrong. */
  async judge(): Promise<string | null> {
    for (const member of this.members) {
      await this.cut(member, false)
      member.signal('SIGCONT')
      if (!member.isRunning) await this.restart(member)
    }
    const before = this.answered
    await until(() => this.answered > before + 50)
    this.#running = false
    await Promise.all(this.#clients)
    for (const member of this.members) {
      const missing = (await member.order({
        kind: 'missing',
        keys: this.#acknowledged,
      })) as string[]
      if (missing.length > 0) {
        return `${member.setup.name} lost ${missing.length} acknowledged keys, ${missing[0]} first`
      }
    }
    return findAnomaly(this.#history)
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.length
  }

  get operationCount(): number {
    return this.#history.length
  }

  get folder(): string {
    return this.#lab.folder
  }

  async close(): Promise<void> {
    this.#running = false
    await this.cluster.close()
    await Promise.all(this.#clients)
  }
}

/** Resolves once `holds`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  withinMs = 60_000,
): Promise<void> {
  const endMs = Date.now() + withinMs
  while (!(await holds())) {
    if (Date.now() > endMs) throw new Error(`never so: ${holds}`)
    await sleep(10)
  }
}
