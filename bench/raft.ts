import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { AbsentContestant, Bench, Contestant, Yield } from './harness.ts'
import { EtcdCluster, etcdVersion } from './raft/etcd.ts'
import { KvClient } from './raft/kv-client.ts'
import { CLUSTER, type MemberProcess, ProcessCluster } from './raft/processes.ts'
import { quantile } from './statistics.ts'

const MEMBERS = 3
const VALUE_BYTES = 256
const KEYS = 10_000
/** Largest first: a cluster that has run for a while is what is asked about, not a cold one. For
 * the same reason members are killed before the first round's load, not after it. */
const CLIENTS = [1_000, 64, 1] as const
const KILLS = 20
const CATCH_UP_ENTRIES = 100_000
const LOAD_SLACK_MS = 60_000
const PROBE_MS = 5
/** A put that a member without a leader holds on to is asked again. */
const ATTEMPT_MS = 200
const FAILOVER_MS = 30_000

/** Puts for `seconds` from `clients` at a time; everybody is driven by the same program. */
async function load(address: string, clients: number, seconds: number): Promise<Yield> {
  const program = fileURLToPath(new URL('raft/load.ts', import.meta.url))
  const flags = ['--disable-warning=ExperimentalWarning', program]
  const numbers = [clients, seconds, KEYS, VALUE_BYTES].map(String)
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, address, ...numbers], {
    timeout: seconds * 1000 + LOAD_SLACK_MS,
  })
  const { puts, seconds: took, p50Ms, p99Ms, errors, firstError } = JSON.parse(stdout)
  if (errors > 0) throw new Error(`${errors} puts failed: ${firstError}`)
  const name = `${clients.toLocaleString('en-US')} client${clients === 1 ? '' : 's'}`
  return {
    [`commits, ${name}`]: puts / took,
    [`p50, ${name}`]: p50Ms,
    [`p99, ${name}`]: p99Ms,
  }
}

/** What a failover needs of a cluster. */
interface Victims {
  readonly addresses: () => readonly string[]
  readonly killLeader: () => Promise<() => Promise<void>>
}

/** Kills leaders, one after the other, and takes the time until a put is acknowledged again. */
async function failover({ addresses, killLeader }: Victims): Promise<number[]> {
  const times: number[] = []
  for (let nth = 0; nth < KILLS; nth++) {
    await firstPut(addresses(), nth)
    const revive = await killLeader()
    const began = performance.now()
    await firstPut(addresses(), nth)
    times.push(performance.now() - began)
    await revive()
  }
  return times
}

/** Asks everybody until somebody acknowledges a put. */
async function firstPut(addresses: readonly string[], nth: number): Promise<void> {
  const clients = addresses.map((address) => new KvClient(address))
  const endMs = performance.now() + FAILOVER_MS
  try {
    for (;;) {
      const puts = clients.map((client) =>
        client.put(Buffer.from(`failover-${nth}`), Buffer.alloc(VALUE_BYTES), ATTEMPT_MS),
      )
      try {
        await Promise.any(puts)
        return
      } catch {
        if (performance.now() > endMs) throw new Error('no put is acknowledged any more')
        await sleep(PROBE_MS)
      }
    }
  } finally {
    for (const client of clients) client.close()
  }
}

class WeftContestant {
  readonly #folder: string
  readonly #cluster: ProcessCluster
  #wasKilled = false

  private constructor(folder: string) {
    this.#folder = folder
    this.#cluster = new ProcessCluster(folder)
  }

  static async start(folder: string): Promise<WeftContestant> {
    const contestant = new WeftContestant(folder)
    for (let i = 1; i <= MEMBERS; i++) await contestant.#cluster.addLocal(`weft${i}`)
    await contestant.#cluster.found()
    return contestant
  }

  async measure(seconds: number): Promise<Yield> {
    let all: Yield = {}
    if (!this.#wasKilled) {
      this.#wasKilled = true
      all = { ...failoverYield(await this.#failover()), ...(await this.#catchUps()) }
    }
    for (const clients of CLIENTS) {
      const { setup } = await this.#cluster.leader()
      all = { ...all, ...(await load(setup.puts!, clients, seconds)) }
    }
    return all
  }

  #failover(): Promise<number[]> {
    const { members } = this.#cluster
    return failover({
      addresses: () => members.filter((m) => m.isRunning).map(({ setup }) => setup.clients),
      killLeader: async () => {
        const leader = await this.#cluster.leader()
        await leader.kill()
        return () => restart(leader)
      },
    })
  }

  /** A new member takes 100,000 entries: from the log alone, and as a member usually would. */
  async #catchUps(): Promise<Yield> {
    const entries = CATCH_UP_ENTRIES.toLocaleString('en-US')
    const all = { snapshotEntries: 10 * CATCH_UP_ENTRIES }
    return {
      [`catch-up, ${entries} entries`]: await this.#catchUp('log', all),
      [`catch-up, ${entries} entries, by snapshot`]: await this.#catchUp('snapshot', {}),
    }
  }

  async #catchUp(name: string, snapshots: { snapshotEntries?: number }): Promise<number> {
    const cluster = new ProcessCluster(join(this.#folder, name), snapshots)
    try {
      await cluster.addLocal(`${name}1`)
      await cluster.found()
      const leader = await cluster.leader()
      await leader.order({ kind: 'fill', count: CATCH_UP_ENTRIES, valueBytes: VALUE_BYTES })
      const joiner = await cluster.addLocal(`${name}2`)
      const { address } = leader.setup
      const peers = [{ id: leader.id, address, nodeId: leader.setup.name }]
      const nodeId = joiner.setup.name
      await joiner.start({ kind: 'join', clusterId: CLUSTER, nodeId, peers })
      const began = performance.now()
      const member = { id: joiner.id, address: joiner.setup.address, nodeId }
      await leader.order({ kind: 'change', request: { kind: 'add-learner', member } })
      const { applied } = (await leader.order({ kind: 'status' })) as { applied: number }
      for (;;) {
        const status = (await joiner.order({ kind: 'status' })) as { applied: number }
        if (status.applied >= applied) return (performance.now() - began) / 1000
        await sleep(PROBE_MS)
      }
    } finally {
      await cluster.close()
    }
  }

  async close(): Promise<void> {
    await this.#cluster.close()
  }
}

async function restart(member: MemberProcess): Promise<void> {
  await member.start({ kind: 'restart', clusterId: CLUSTER, nodeId: member.setup.name })
}

function failoverYield(times: readonly number[]): Yield {
  return {
    'leader killed, next commit, p50': quantile(times, 0.5) / 1000,
    'leader killed, next commit, p99': quantile(times, 0.99) / 1000,
  }
}

function etcdMeasure(cluster: EtcdCluster): Contestant['measure'] {
  let wasKilled = false
  const victims: Victims = {
    addresses: () => cluster.running,
    killLeader: async () => {
      const leader = await cluster.leader()
      await cluster.kill(leader)
      return () => cluster.restart(leader)
    },
  }
  return async (seconds) => {
    let all: Yield = {}
    if (!wasKilled) {
      wasKilled = true
      all = failoverYield(await failover(victims))
    }
    for (const clients of CLIENTS) {
      all = { ...all, ...(await load(await cluster.leader(), clients, seconds)) }
    }
    return all
  }
}

/** Sets both up on the same disk. What is started here ends with this process. */
async function contestants(): Promise<(Contestant | AbsentContestant)[]> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-raft-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const weft = await WeftContestant.start(join(folder, 'weft'))
  const version = etcdVersion()
  const all: (Contestant | AbsentContestant)[] = [
    { name: 'weft', measure: (seconds) => weft.measure(seconds) },
  ]
  if (version === null) return [...all, { name: 'etcd', absent: 'etcd is not installed' }]
  const etcd = await EtcdCluster.start(join(folder, 'etcd'), MEMBERS)
  return [...all, { name: 'etcd', measure: etcdMeasure(etcd) }]
}

const NAMES = ['1 client', '64 clients', '1,000 clients']

export const bench: Bench = {
  name: 'raft',
  question: 'How fast does a cluster of three make 256-byte writes durable, beside etcd?',
  lab: false,
  metrics: [
    ...NAMES.flatMap((name) => [
      { name: `commits, ${name}`, unit: '1/s' },
      { name: `p50, ${name}`, unit: 'ms' },
      { name: `p99, ${name}`, unit: 'ms' },
    ]),
    { name: 'leader killed, next commit, p50', unit: 's' },
    { name: 'leader killed, next commit, p99', unit: 's' },
    { name: 'catch-up, 100,000 entries', unit: 's' },
    { name: 'catch-up, 100,000 entries, by snapshot', unit: 's' },
  ],
  goals: [
    { metric: 'commits, 1 client', peer: 'etcd', atLeast: 1 },
    { metric: 'commits, 64 clients', peer: 'etcd', atLeast: 1.2 },
    { metric: 'commits, 1,000 clients', peer: 'etcd', atLeast: 1.2 },
    ...NAMES.map((name) => ({ metric: `p99, ${name}`, peer: 'etcd', atMost: 1 })),
    { metric: 'leader killed, next commit, p50', atMost: 1.5 },
    { metric: 'leader killed, next commit, p99', atMost: 2.5 },
    { metric: 'catch-up, 100,000 entries', atMost: 5 },
    { metric: 'catch-up, 100,000 entries, by snapshot', atMost: 5 },
  ],
  contestants,
}
