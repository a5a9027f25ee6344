// A cluster in memory for etcd's interaction tests: members with a log and an appending state machine,
// and the messages between them, all moved by hand. It keeps the order of etcd's environment exactly (by
// ascending id; ready, deliver, append, apply), because the tests compare that order.
//
// With async-storage-writes the writes and applications of a member wait in two queues that are worked
// off by command, and their acknowledgements travel as messages.

import { decodeConfChange } from '../../controlplane/raft/codec.ts'
import type { Config } from '../../controlplane/raft/config.ts'
import { describeMessage, describeReady } from '../../controlplane/raft/describe.ts'
import {
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type MessageType,
  makeMessage,
  NO_BYTES,
  type NodeId,
  type Snapshot,
} from '../../controlplane/raft/messages.ts'
import { RawNode } from '../../controlplane/raft/raw-node.ts'
import { MemoryStorage } from '../../controlplane/raft/storage.ts'
import type { Ready, Refusal } from '../../controlplane/raft/types.ts'

/** A request that the environment itself refuses; its text is compared. */
export class EnvironmentError extends Error {}

/** Whatever a test may set for new members. */
export type MemberConfig = Partial<Omit<Config, 'id' | 'storage' | 'random'>>

interface Member {
  readonly id: NodeId
  readonly node: RawNode
  readonly storage: HistoryStorage
  readonly electionTicks: number
  readonly heartbeatTicks: number
  hardState: HardState
}

/** Offers the newest state of the state machine whenever a snapshot is asked for. */
class HistoryStorage extends MemoryStorage {
  newest: Snapshot

  constructor(first: Snapshot) {
    super()
    this.newest = first
    if (first.index > 0) this.applySnapshot(first)
  }

  override snapshot(): Snapshot | null {
    return this.newest.index > 0 ? this.newest : null
  }
}

/** The texts of etcd's errors, where its tests show them. */
const REFUSAL_TEXTS: Partial<Record<Refusal, string>> = {
  'local-message': 'raft: cannot step raft local message',
  'unknown-peer': 'raft: cannot step as peer not found',
}

const ELECTION_TICKS = 3
const HEARTBEAT_TICKS = 1
const MAX_INFLIGHT = 2 ** 31 - 1

export class RaftEnvironment {
  readonly #members: Member[] = []
  #messages: Message[] = []
  #lines: string[] = []
  #indent = ''
  /** Suppresses all output but errors. */
  quiet = false

  /** Takes the output since the last call. */
  takeOutput(): string[] {
    const lines = this.#lines
    this.#lines = []
    return lines
  }

  print(text: string): void {
    if (this.quiet) return
    for (const line of text.replace(/\n$/, '').split('\n')) this.#lines.push(this.#indent + line)
  }

  get ids(): NodeId[] {
    return this.#members.map(({ id }) => id)
  }

  member(id: NodeId): Member {
    const member = this.#members[id - 1]
    if (member === undefined) throw new EnvironmentError(`no member ${id}`)
    return member
  }

  addNodes(
    count: number,
    config: MemberConfig,
    confState: ConfState,
    index: number,
    data: Uint8Array,
  ): void {
    const first = { index, term: index > 0 ? 1 : 0, confState, data }
    for (let i = 0; i < count; i++) {
      const id = this.#members.length + 1
      const storage = new HistoryStorage(first)
      const node = new RawNode({
        electionTicks: ELECTION_TICKS,
        heartbeatTicks: HEARTBEAT_TICKS,
        maxInflightMessages: MAX_INFLIGHT,
        ...config,
        id,
        storage,
        applied: index,
        random: { below: () => 0 },
      })
      this.#members.push({
        id,
        node,
        storage,
        electionTicks: ELECTION_TICKS,
        heartbeatTicks: HEARTBEAT_TICKS,
        hardState: storage.hardState,
      })
    }
  }

  processReady(id: NodeId): void {
    const member = this.member(id)
    const ready = member.node.ready()
    this.print(describeReady(withoutSnapshotSync(ready, member)))
    if (ready.hardState !== null) member.hardState = ready.hardState
    append(member, ready)
    apply(member, ready.committedEntries)
    this.#messages.push(...ready.messages, ...ready.messagesAfterAppend)
    member.node.advance()
  }

  /** Delivers or drops messages to `to` of `type` (null for all). Returns how many there were. */
  deliver(to: NodeId, type: MessageType | null, drop: boolean): number {
    const matches = (message: Message): boolean =>
      message.to === to && (type === null || message.type === type)
    const selected = this.#messages.filter(matches)
    this.#messages = this.#messages.filter((message) => !matches(message))
    for (const message of selected) {
      this.print(`${drop ? 'dropped: ' : ''}${describeMessage(message)}`)
      if (drop) continue
      const refusal = this.member(to).node.step(message)
      if (refusal !== null) this.print(refusalText(refusal))
    }
    return selected.length
  }

  /** Handles Readies and delivers messages among `ids` until nothing is left to do. */
  stabilize(ids: readonly NodeId[]): void {
    for (let busy = true; busy; ) {
      busy = false
      for (const id of ids) {
        if (!this.member(id).node.hasReady()) continue
        busy = true
        this.under(`> ${id} handling Ready`, () => this.processReady(id))
      }
      for (const id of ids) {
        if (!this.#messages.some(({ to }) => to === id)) continue
        busy = true
        this.under(`> ${id} receiving messages`, () => this.deliver(id, null, false))
      }
    }
  }

  /** Prints what `body` prints, indented below `title`. */
  under(title: string, body: () => void): void {
    this.print(title)
    const outer = this.#indent
    this.#indent = `${outer}  `
    try {
      body()
    } finally {
      this.#indent = outer
    }
  }

  /** Queues a snapshot of member `from` for member `to`, unasked. */
  sendSnapshot(from: NodeId, to: NodeId): void {
    const { node, storage } = this.member(from)
    const term = node.basicStatus().term
    const message = makeMessage('MsgSnap', to, { from, term, snapshot: storage.snapshot() })
    this.#messages.push(message)
    this.print(describeMessage(message))
  }
}

export function refusalText(refusal: Refusal): string {
  return REFUSAL_TEXTS[refusal] ?? 'raft proposal dropped'
}

/** etcd writes snapshots through another door and does not count them in MustSync; we do. */
function withoutSnapshotSync(ready: Ready, member: Member): Ready {
  const { snapshot, entries, hardState } = ready
  if (snapshot === null || entries.length > 0) return ready
  const { term, vote } = hardState ?? member.hardState
  return { ...ready, mustSync: term !== member.hardState.term || vote !== member.hardState.vote }
}

function append({ storage }: Member, { hardState, snapshot, entries }: Ready): void {
  if (hardState !== null) storage.hardState = hardState
  if (snapshot !== null) {
    storage.applySnapshot(snapshot)
    return
  }
  storage.append(entries)
}

/** The state machine appends the data of every entry to what it has. */
function apply({ node, storage }: Member, entries: readonly Entry[]): void {
  for (const entry of entries) {
    let { confState } = storage.newest
    let addition = entry.data
    if (entry.type !== 'EntryNormal') {
      const change = decodeConfChange(entry)
      if (change === null) throw new EnvironmentError('malformed membership change')
      confState = node.applyConfChange(change)
      addition = NO_BYTES
    }
    const data = new Uint8Array([...storage.newest.data, ...addition])
    storage.newest = { index: entry.index, term: entry.term, confState, data }
  }
}
