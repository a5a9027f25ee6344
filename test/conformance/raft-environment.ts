// A cluster in memory for etcd's interaction tests: members with a log and an appending state
// machine, and the messages between them, all moved by hand. It keeps the order of etcd's
// environment exactly (by ascending id; ready, deliver, append, apply), because the tests compare
// that order.
//
// With async-storage-writes the writes and applications of a member wait in two queues that are
// worked off by command, and their acknowledgements travel as messages.

import { decodeConfChange } from '../../controlplane/raft/codec.ts'
import type { Config } from '../../controlplane/raft/config.ts'
import { MemoryStorage } from '../../controlplane/raft/memory-storage.ts'
import {
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  makeMessage,
  NO_BYTES,
  type NodeId,
  type Snapshot,
} from '../../controlplane/raft/messages.ts'
import { RawNode } from '../../controlplane/raft/raw-node.ts'
import type { Ready, Refusal } from '../../controlplane/raft/types.ts'
import { describeMessage, describeReady } from './describe.ts'
import { type Parcel, StorageThreads } from './storage-threads.ts'

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
  /** Null unless the member's writes are asynchronous. */
  readonly threads: StorageThreads | null
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
  'unknown-peer': 'raft: cannot step as peer not found',
}

const ELECTION_TICKS = 3
const HEARTBEAT_TICKS = 1
const MAX_INFLIGHT = 2 ** 31 - 1

export class RaftEnvironment {
  readonly #members: Member[] = []
  #parcels: Parcel[] = []
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
        threads: config.pipelinedWrites
          ? new StorageThreads(id, node, (message) => this.#wrap(message))
          : null,
      })
    }
  }

  processReady(id: NodeId): void {
    const member = this.member(id)
    const ready = member.node.ready()
    const shown = withoutSnapshotSync(ready, member)
    if (ready.hardState !== null) member.hardState = ready.hardState
    if (member.threads !== null) {
      const jobs = member.threads.take(ready)
      this.print(describeReady({ ...shown, messagesAfterAppend: [] }, jobs))
      this.#parcels.push(...ready.messages.map((message) => this.#wrap(message)))
      return
    }
    this.print(describeReady(shown))
    append(member, ready)
    apply(member, ready.committedEntries)
    const messages = [...ready.messages, ...ready.messagesAfterAppend]
    this.#parcels.push(...messages.map((message) => this.#wrap(message)))
    member.node.advance()
  }

  /** Carries out the oldest job of one of a member's storage threads. */
  processThread(id: NodeId, name: 'append' | 'apply'): void {
    const member = this.member(id)
    const thread = member.threads?.[name]
    const job = thread?.next()
    if (thread === undefined || job === null || job === undefined) {
      this.print(`no ${name} work to perform`)
      return
    }
    this.print(`Processing:\n${job.text}`)
    if (name === 'append') append(member, job.ready)
    else apply(member, job.ready.committedEntries)
    this.print('Responses:')
    for (const parcel of job.responses) this.print(parcel.text)
    this.#parcels.push(...job.responses)
    thread.finish()
  }

  /** Delivers or drops messages to `to` of `type` (null for all). Returns how many there were. */
  deliver(to: NodeId, type: string | null, drop: boolean): number {
    const matches = (parcel: Parcel): boolean =>
      parcel.to === to && !(drop && parcel.local) && (type === null || parcel.type === type)
    const selected = this.#parcels.filter(matches)
    this.#parcels = this.#parcels.filter((parcel) => !matches(parcel))
    for (const parcel of selected) {
      this.print(`${drop ? 'dropped: ' : ''}${parcel.text}`)
      if (!drop) parcel.delivered?.()
    }
    return selected.length
  }

  /** Works off everything among `ids` until nothing is left to do. */
  stabilize(ids: readonly NodeId[]): void {
    for (let busy = true; busy; ) {
      busy = false
      const each = (
        title: string,
        due: (id: NodeId) => boolean,
        work: (id: NodeId) => void,
      ): void => {
        for (const id of ids) {
          if (!due(id)) continue
          busy = true
          this.under(`> ${id} ${title}`, () => work(id))
        }
      }
      each(
        'handling Ready',
        (id) => this.member(id).node.hasReady(),
        (id) => this.processReady(id),
      )
      each(
        'receiving messages',
        (id) => this.#parcels.some(({ to }) => to === id),
        (id) => this.deliver(id, null, false),
      )
      for (const name of ['append', 'apply'] as const) {
        const isBusy = (id: NodeId): boolean => this.member(id).threads?.[name].busy ?? false
        each(`processing ${name} thread`, isBusy, (id) => {
          while (isBusy(id)) this.processThread(id, name)
        })
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
    this.#parcels.push(this.#wrap(message))
    this.print(describeMessage(message))
  }

  #wrap(message: Message): Parcel {
    const { to, type } = message
    const delivered = (): void => {
      const refusal = this.member(to).node.step(message)
      if (refusal !== null) this.print(refusalText(refusal))
    }
    return { to, type, text: describeMessage(message), local: false, delivered }
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
