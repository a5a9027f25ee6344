// Members as processes on this machine, each with a directory and certificates of its own.

import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { TestAuthority } from '../../controlplane/proto/testing/certificates.ts'
import type { MemberAddress } from '../../controlplane/raft/shell/members.ts'
import { drawRaftId, type StartMode } from '../../controlplane/raft/shell/open-member.ts'
import { KvClient } from './kv-client.ts'
import type { MemberConfig, Order } from './member.ts'

export const CLUSTER = 'bench-cluster'
const READY_MS = 30_000

/** Left out of an Order by who gives it. */
type Unnumbered = Order extends infer O ? (O extends unknown ? Omit<O, 'id'> : never) : never

/** Below what the kernel gives to connections on their way out: one of those could take the port
 * before its member does. */
const PORTS = { first: 20_000, count: 12_000 }
const given = new Set<number>()

/** A port that was free a moment ago, another one each time. */
export function freePort(): Promise<number> {
  const port = PORTS.first + randomInt(PORTS.count)
  if (given.has(port)) return freePort()
  given.add(port)
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', () => freePort().then(resolve, reject))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(port)))
  })
}

export interface MemberSetup {
  readonly name: string
  /** For members and for clients. */
  readonly address: string
  readonly clients: string
  readonly puts?: string
  /** Put before the command, to run it in a namespace, say. */
  readonly prefix?: readonly string[]
  /** Where its data are, instead of in the cluster's folder. */
  readonly directory?: string
}

/** One member, started and stopped any number of times. */
export class MemberProcess {
  readonly setup: MemberSetup
  readonly folder: string
  /** Its Raft id, once it has served. */
  id = 0
  child: ChildProcess | null = null
  /** How its last process ended, and what it wrote to standard error. */
  ended: { readonly code: number | null; readonly signal: string | null } | null = null
  stderr = ''
  leads = false
  readonly #snapshots: Pick<MemberConfig, 'snapshotEntries' | 'keptEntries'>
  readonly #answers = new Map<number, (line: { value?: unknown; error?: string }) => void>()
  #orders = 0

  constructor(
    setup: MemberSetup,
    folder: string,
    snapshots: Pick<MemberConfig, 'snapshotEntries' | 'keptEntries'>,
  ) {
    this.setup = setup
    this.folder = folder
    this.#snapshots = snapshots
  }

  get isRunning(): boolean {
    return this.child !== null
  }

  /** Resolves when it serves, rejects when it ends instead. */
  async start(start: StartMode): Promise<void> {
    const {
      address,
      clients,
      puts,
      prefix = [],
      directory = join(this.folder, 'raft'),
    } = this.setup
    const tls = {
      certificate: join(this.folder, 'node.crt'),
      key: join(this.folder, 'node.key'),
      roots: join(this.folder, 'root.crt'),
    }
    const common = { directory, start, address, clients, tls, ...this.#snapshots }
    const config: MemberConfig = puts === undefined ? common : { ...common, puts }
    const path = join(this.folder, 'member.json')
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 })
    const program = fileURLToPath(new URL('member.ts', import.meta.url))
    const flags = ['--disable-warning=ExperimentalWarning']
    const [command, ...rest] = [...prefix, process.execPath, ...flags, program, path]
    const child = spawn(command!, rest, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child = child
    this.ended = null
    this.stderr = ''
    child.stdin.on('error', () => {})
    child.stderr.on('data', (chunk) => {
      this.stderr = (this.stderr + chunk).slice(-16_384)
    })
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject)
      child.on('exit', (code, signal) => {
        this.#ended(child, code, signal)
        reject(new Error(`${this.setup.name} ended: ${this.stderr || signal || code}`))
      })
      createInterface({ input: child.stdout }).on('line', (line) => {
        const said = JSON.parse(line)
        if (said.serves === true) {
          this.id = said.id
          resolve()
        } else if (said.answer !== undefined) {
          this.#answers.get(said.answer)?.(said)
          this.#answers.delete(said.answer)
        } else if (said.leads !== undefined) {
          this.leads = said.leads
        }
      })
    })
  }

  #ended(child: ChildProcess, code: number | null, signal: string | null): void {
    if (this.child !== child) return
    this.child = null
    this.leads = false
    this.ended = { code, signal }
    for (const answer of this.#answers.values()) answer({ error: 'the process ended' })
    this.#answers.clear()
  }

  /** What the member answers to an order. */
  order(order: Unnumbered): Promise<unknown> {
    const { child } = this
    if (child === null) return Promise.reject(new Error(`${this.setup.name} does not run`))
    const id = ++this.#orders
    child.stdin!.write(`${JSON.stringify({ ...order, id })}\n`)
    return new Promise((resolve, reject) => {
      this.#answers.set(id, ({ value, error }) => {
        if (error === undefined) resolve(value)
        else reject(new Error(error))
      })
    })
  }

  /** With a prefix, the signal goes to the whole command: exec keeps the process. */
  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal)
  }

  /** Ends it, at once by default; resolves when it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { child } = this
    if (child === null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await gone
  }
}

/** Members that found a cluster together. */
export class ProcessCluster {
  readonly folder: string
  readonly members: MemberProcess[] = []
  readonly #authority = new TestAuthority(CLUSTER)
  readonly #snapshots: Pick<MemberConfig, 'snapshotEntries' | 'keptEntries'>

  constructor(
    folder: string,
    snapshots: Pick<MemberConfig, 'snapshotEntries' | 'keptEntries'> = {},
  ) {
    this.folder = folder
    this.#snapshots = snapshots
  }

  /** A member that does not run yet. */
  add(setup: MemberSetup): MemberProcess {
    const folder = join(this.folder, setup.name)
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { certificate, privateKey, roots } = this.#authority.issue({ nodeId: setup.name })
    writeFileSync(join(folder, 'node.crt'), certificate)
    writeFileSync(join(folder, 'node.key'), privateKey, { mode: 0o600 })
    writeFileSync(join(folder, 'root.crt'), roots)
    const member = new MemberProcess(setup, folder, this.#snapshots)
    this.members.push(member)
    return member
  }

  async addLocal(name: string): Promise<MemberProcess> {
    const [members, clients, puts] = [await freePort(), await freePort(), await freePort()]
    return this.add({
      name,
      address: `127.0.0.1:${members}`,
      clients: `127.0.0.1:${clients}`,
      puts: `127.0.0.1:${puts}`,
    })
  }

  async found(): Promise<void> {
    const founders: MemberAddress[] = this.members.map(({ setup }) => ({
      id: drawRaftId(),
      address: setup.address,
      nodeId: setup.name,
    }))
    await Promise.all(
      this.members.map((member) => {
        const { name, address } = member.setup
        const common = { kind: 'found', clusterId: CLUSTER, nodeId: name } as const
        return member.start({ ...common, address, founders })
      }),
    )
    await this.leader()
  }

  /** The member that says it leads. */
  async leader(): Promise<MemberProcess> {
    const endMs = Date.now() + READY_MS
    for (;;) {
      const leader = this.members.find(({ leads }) => leads)
      if (leader !== undefined) return leader
      if (Date.now() > endMs) throw new Error('nobody leads')
      await sleep(2)
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()))
  }
}

/** Resolves once somebody at `address` knows a leader. */
export async function answers(address: string): Promise<void> {
  const endMs = Date.now() + READY_MS
  const client = new KvClient(address)
  try {
    for (;;) {
      const status = await client.status().catch(() => null)
      if (status !== null && status.leader !== 0) return
      if (Date.now() > endMs) throw new Error(`${address} does not answer`)
      await sleep(20)
    }
  } finally {
    client.close()
  }
}

/** Where the member answers that leads, by asking all of them. */
export async function leaderAddress(addresses: readonly string[]): Promise<string> {
  const endMs = Date.now() + READY_MS
  for (;;) {
    for (const address of addresses) {
      const client = new KvClient(address)
      try {
        const { memberId, leader } = await client.status()
        if (leader !== 0 && leader === memberId) return address
      } catch {
        // Not up yet, or gone.
      } finally {
        client.close()
      }
    }
    if (Date.now() > endMs) throw new Error('nobody leads')
    await sleep(20)
  }
}
