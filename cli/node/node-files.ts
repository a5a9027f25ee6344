// What a node keeps in its data directory, and in which order it writes it:
//
//   state.json       how far it is, and how it was asked to take part: below
//   certificates/    who it is (controlplane/ca/identity.ts)
//   raft/            a manager's log and snapshot (controlplane/raft/shell/)
//   worker/          tasks, and what was last known of the network (controlplane/agent/)
//   tunnel.key       X25519 private key of the data plane, 0600
//
// state.json is the first that is written and the last that is finished. A node that was killed
// while it founded a swarm has promised nothing to anybody: what it began is thrown away. One that
// was killed while it joined is a member if it has its certificate, and nothing otherwise; one that
// was killed while it forgot its swarm goes on with that.

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { hasState } from '../../controlplane/raft/shell/database-file.ts'
import { writeDurably } from '../../controlplane/raft/shell/keys.ts'
import { publicKeyOf } from '../../dataplane/validate-nodes.ts'
import { generatePrivateKey, readPrivateKey, writePrivateKey } from '../key-file.ts'
import { STATE_FILE_SIZE_MAX } from './limits.ts'

const FORMAT = 1
const PHASES: readonly string[] = ['founding', 'joining', 'member', 'leaving']

export type Phase = 'founding' | 'joining' | 'member' | 'leaving'

/** How a node takes part. */
export interface NodeState {
  readonly phase: Phase
  /** "host:port" that a manager listens on. */
  readonly listenAddress: string
  /** "host:port" under which others reach it. */
  readonly advertiseAddress: string
  /** Host of the data plane's endpoint. */
  readonly dataPathHost: string
  /** Managers that were known last. */
  readonly managers: readonly string[]
}

/** Where an agent with this data directory keeps what belongs to its swarm. */
export function swarmDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'swarm')
}

export class NodeFiles {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  get raft(): string {
    return join(this.directory, 'raft')
  }

  get worker(): string {
    return join(this.directory, 'worker')
  }

  get certificates(): string {
    return join(this.directory, 'certificates')
  }

  get state(): string {
    return join(this.directory, 'state.json')
  }

  get #tunnelKey(): string {
    return join(this.directory, 'tunnel.key')
  }

  /** Null when this node is in no swarm. Throws an Error with a sentence for a file that is
   * damaged, and for one that is missing beside the rest. */
  readState(): NodeState | null {
    let text: string
    try {
      text = readFileSync(this.state, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      if (!existsSync(join(this.certificates, 'swarm-node.key'))) return null
      throw new Error(
        `${this.state} is missing: put it back, or leave the swarm with --force and join again`,
      )
    }
    const state = text.length > STATE_FILE_SIZE_MAX ? null : parseState(text)
    if (state !== null) return state
    throw new Error(
      `${this.state} is damaged: put it back, or leave the swarm with --force and join again`,
    )
  }

  writeState(state: NodeState): void {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 })
    writeDurably(this.state, `${JSON.stringify({ format: FORMAT, ...state }, null, 2)}\n`)
  }

  get hasRaft(): boolean {
    return hasState(this.raft)
  }

  removeRaft(): void {
    rmSync(this.raft, { recursive: true, force: true })
  }

  /** The key of the data plane, which is made when it is not there. Public and private, base64. */
  tunnelKeys(): { readonly privateKey: string; readonly publicKey: string } {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 })
    if (!existsSync(this.#tunnelKey)) writePrivateKey(this.#tunnelKey, generatePrivateKey())
    const secret = readPrivateKey(this.#tunnelKey)
    return {
      privateKey: Buffer.from(secret).toString('base64'),
      publicKey: publicKeyOf(secret),
    }
  }

  /** Says that nothing of the swarm is to be kept, so that a restart goes on with that. */
  beginLeaving(): void {
    let state: NodeState | null = null
    try {
      state = this.readState()
    } catch {
      // A state that cannot be read says nothing to anybody.
    }
    if (state !== null) this.writeState({ ...state, phase: 'leaving' })
  }

  /** Forgets the swarm. The state goes last: whoever is killed on the way does it again. */
  removeAll(): void {
    for (const path of [this.certificates, this.raft, this.worker, this.#tunnelKey, this.state]) {
      rmSync(path, { recursive: true, force: true })
    }
  }
}

function parseState(text: string): NodeState | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  const { format, phase, listenAddress, advertiseAddress, dataPathHost, managers } = Object(value)
  const isText = (one: unknown): one is string => typeof one === 'string' && one.length <= 512
  if (format !== FORMAT || !PHASES.includes(phase)) return null
  if (![listenAddress, advertiseAddress, dataPathHost].every(isText)) return null
  if (!Array.isArray(managers) || !managers.every(isText)) return null
  return { phase, listenAddress, advertiseAddress, dataPathHost, managers }
}
