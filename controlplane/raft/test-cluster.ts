// Members in memory with a lossless network between them, for the unit tests: every wait is a loop
// until nothing moves. Faults are made by hand: cut links, lose messages of a kind, restart
// members. (Random faults, clocks and disks are the simulator's business.)

import { decodeConfChange } from './codec.ts'
import type { Config } from './config.ts'
import { foundingState, MemoryStorage } from './memory-storage.ts'
import {
  type ConfState,
  EMPTY_CONF_STATE,
  type Entry,
  type Message,
  type NodeId,
  type ReadState,
  type Snapshot,
} from './messages.ts'
import { RawNode } from './raw-node.ts'
import type { Ready } from './types.ts'

export type MemberConfig = Partial<Omit<Config, 'id' | 'storage'>>

export const ELECTION_TICKS = 10
export const HEARTBEAT_TICKS = 1

export interface TestMember {
  readonly id: NodeId
  node: RawNode
  readonly storage: MemoryStorage
  readonly config: MemberConfig
  /** Data of the normal, non-empty entries applied so far: the state machine. */
  applied: string[]
  appliedIndex: number
  confState: ConfState
  readonly reads: ReadState[]
}

export function voters(...ids: NodeId[]): ConfState {
  return { ...EMPTY_CONF_STATE, voters: ids }
}

/** A node with nothing around it; the election timeout is ELECTION_TICKS unless `random` says
 * more. */
export function makeNode(id: NodeId, storage: MemoryStorage, config: MemberConfig = {}): RawNode {
  return new RawNode({
    electionTicks: ELECTION_TICKS,
    heartbeatTicks: HEARTBEAT_TICKS,
    maxInflightMessages: 256,
    random: { below: () => 0 },
    ...config,
    id,
    storage,
  })
}

/** Makes a Ready durable. */
export function store(storage: MemoryStorage, ready: Ready): void {
  if (ready.snapshot !== null) storage.applySnapshot(ready.snapshot)
  storage.append(ready.entries)
  if (ready.hardState !== null) storage.hardState = ready.hardState
}

/** Takes every Ready of a lone node and returns what it wants sent. */
export function drain(node: RawNode, storage: MemoryStorage): Message[] {
  const sent: Message[] = []
  while (node.hasReady()) {
    const ready = node.ready()
    store(storage, ready)
    sent.push(...ready.messages, ...ready.messagesAfterAppend)
    for (const entry of ready.committedEntries) applyMembership(node, entry)
    node.advance()
  }
  return sent
}

/** Applies a membership change; null when `entry` is none. */
export function applyMembership(node: RawNode, entry: Entry): ConfState | null {
  if (entry.type === 'EntryNormal') return null
  const change = decodeConfChange(entry)
  if (change === null) throw new Error('malformed membership change')
  return node.applyConfChange(change)
}

export class TestCluster {
  readonly members: Map<NodeId, TestMember> = new Map()
  /** Messages for which this is true are lost. */
  loses: (message: Message) => boolean = () => false
  #queue: Message[] = []

  /** A cluster that members may join later: see foundingState(). */
  static founded(ids: readonly NodeId[], config: MemberConfig = {}): TestCluster {
    const cluster = new TestCluster(ids, config, EMPTY_CONF_STATE)
    const { snapshot, hardState } = foundingState(voters(...ids))
    for (const member of cluster.members.values()) {
      member.storage.applySnapshot(snapshot)
      member.storage.hardState = hardState
      member.appliedIndex = snapshot.index
      member.confState = snapshot.confState
      cluster.restart(member.id)
    }
    return cluster
  }

  constructor(
    ids: readonly NodeId[],
    config: MemberConfig = {},
    confState: ConfState = voters(...ids),
  ) {
    for (const id of ids) this.add(id, confState, config)
  }

  add(id: NodeId, confState: ConfState = EMPTY_CONF_STATE, config: MemberConfig = {}): TestMember {
    const storage = new MemoryStorage(confState)
    const node = makeNode(id, storage, config)
    const member = { id, node, storage, config, applied: [], appliedIndex: 0, confState, reads: [] }
    this.members.set(id, member)
    return member
  }

  get(id: NodeId): TestMember {
    const member = this.members.get(id)
    if (member === undefined) throw new Error(`no member ${id}`)
    return member
  }

  node(id: NodeId): RawNode {
    return this.get(id).node
  }

  /** Loses everything between the groups; members in no group hear nobody. */
  partition(...groups: readonly (readonly NodeId[])[]): void {
    this.loses = ({ from, to }) =>
      !groups.some((group) => group.includes(from) && group.includes(to))
  }

  heal(): void {
    this.loses = () => false
  }

  /** Handles Readies and delivers messages until nothing moves. */
  settle(): void {
    for (let busy = true; busy; ) {
      busy = false
      for (const member of this.members.values()) {
        while (member.node.hasReady()) {
          this.#handle(member)
          busy = true
        }
      }
      const queue = this.#queue
      this.#queue = []
      for (const message of queue) {
        busy = true
        if (!this.loses(message)) this.members.get(message.to)?.node.step(message)
      }
    }
  }

  /** Ticks the given members (all by default) `count` times, settling after each. */
  tick(count: number, ids: readonly NodeId[] = [...this.members.keys()]): void {
    for (let i = 0; i < count; i++) {
      for (const id of ids) this.node(id).tick()
      this.settle()
    }
  }

  elect(id: NodeId): void {
    this.node(id).campaign()
    this.settle()
    if (this.node(id).basicStatus().role !== 'leader') throw new Error(`${id} did not win`)
  }

  propose(id: NodeId, ...texts: string[]): void {
    for (const text of texts) {
      const { refusal } = this.node(id).propose(bytes(text))
      if (refusal !== null) throw new Error(`proposal refused: ${refusal}`)
    }
    this.settle()
  }

  /** Starts the member anew from what it has stored and applied. */
  restart(id: NodeId): void {
    const member = this.get(id)
    const { storage, config, appliedIndex } = member
    member.node = makeNode(id, storage, { ...config, applied: appliedIndex })
  }

  /** Snapshots the member's state machine and drops the log up to there. */
  compact(id: NodeId): Snapshot {
    const { storage, applied, appliedIndex, confState } = this.get(id)
    const term = storage.term(appliedIndex)
    if (typeof term !== 'number') throw new Error(term)
    const snapshot = { index: appliedIndex, term, confState, data: bytes(applied.join('\n')) }
    storage.createSnapshot(snapshot)
    storage.compact(appliedIndex)
    return snapshot
  }

  #handle(member: TestMember): void {
    const { node, storage } = member
    const ready = node.ready()
    store(storage, ready)
    if (ready.snapshot !== null) {
      const text = new TextDecoder().decode(ready.snapshot.data)
      member.applied = text === '' ? [] : text.split('\n')
      member.appliedIndex = ready.snapshot.index
      member.confState = ready.snapshot.confState
    }
    for (const entry of ready.committedEntries) {
      member.confState = applyMembership(node, entry) ?? member.confState
      const isData = entry.type === 'EntryNormal' && entry.data.length > 0
      if (isData) member.applied.push(new TextDecoder().decode(entry.data))
      member.appliedIndex = entry.index
    }
    member.reads.push(...ready.readStates)
    this.#queue.push(...ready.messages, ...ready.messagesAfterAppend)
    node.advance()
  }
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}
