// What must hold after every event, seen from outside by somebody who sees everything: every
// Ready, every message sent, every disk. Nothing here asks the core what it thinks of itself but
// for its status, and the arithmetic of quorums is done again, differently, so that a mistake in
// the core cannot hide itself.
//
//   election safety      at most one leader in a term; one vote per member and term, also when the
//                        member crashed in between
//   log matching         equal index and term: equal entry, and equal term before it
//   leader completeness  a leader's log has everything committed in earlier terms
//   state-machine safety all apply the same, in order, only what is committed and on their own disk
//                        (while they led, what a quorum had when it was committed is enough)
//   durability           what is committed is on the disks of a quorum, together with an entry of
//                        the leader's own term; no member cuts off what it knows to be committed
//   monotony             terms, and within a life commit and applied indexes, never fall; no member
//                        comes back with a lower term than it answered or led in
//   configurations       all have the same one at an index; quorums of neighbours overlap
//   lease                with checkQuorum, who hears from a leader takes no part in elections
//
// Cost: proportional to what changed in the event, not to the size of the world.

import type {
  ConfState,
  Entry,
  Message,
  NodeId,
  Snapshot,
} from '../../controlplane/raft/messages.ts'
import type { BasicStatus, Ready } from '../../controlplane/raft/types.ts'
import type { Disk } from './disk.ts'

/** A rule was broken. The message names it. */
export class Violation extends Error {
  override readonly name = 'Violation'
  readonly rule: string

  constructor(rule: string, what: string) {
    super(`${rule}: ${what}`)
    this.rule = rule
  }
}

interface LedgerEntry {
  readonly entry: Entry
  /** 0 when it followed a snapshot whose term is only known there. */
  readonly previousTerm: number
}

interface CommittedEntry {
  readonly term: number
  /** Term of the leader that committed it. */
  readonly byTerm: number
  /** Of the state machine once it is applied; -1 until somebody did. */
  digest: number
}

/** What the checker remembers of one member. */
interface Record {
  readonly id: NodeId
  readonly disk: Disk
  readonly checkQuorum: boolean
  readonly electionTicks: number
  /** Terms of its log, durable or not; terms[i] is that of entry base + 1 + i. */
  base: number
  baseTerm: number
  terms: number[]
  term: number
  vote: NodeId
  commit: number
  applied: number
  /** Up to here it was given entries to apply while it led. */
  ledTo: number
  /** Highest term of an answer that it gave. */
  promisedTerm: number
  config: ConfState
  ticks: number
  /** Its own tick at which it last heard from the leader it follows; -Infinity for never. */
  heardTick: number
}

const TERMS_MAX = 1 << 20

export class Checker {
  readonly #records = new Map<NodeId, Record>()
  readonly #ledger = new Map<number, LedgerEntry>()
  readonly #committed: CommittedEntry[] = []
  readonly #firstIndex: number
  readonly #leaders = new Map<number, NodeId>()
  /** By voter and term. */
  readonly #votes = new Map<number, NodeId>()
  readonly #configs = new Map<number, ConfState>()
  #newestConfigIndex: number
  checks = 0
  elections = 0

  constructor(founding: Snapshot) {
    this.#firstIndex = founding.index
    this.#committed.push({ term: founding.term, byTerm: founding.term, digest: 0 })
    this.#configs.set(founding.index, founding.confState)
    this.#newestConfigIndex = founding.index
  }

  get committedCount(): number {
    return this.#committed.length - 1
  }

  /** A member starts, for the first time or again, from what its disk holds. */
  started(
    id: NodeId,
    disk: Disk,
    config: ConfState,
    appliedIndex: number,
    options: { readonly checkQuorum: boolean; readonly electionTicks: number },
  ): void {
    const promisedTerm = this.#records.get(id)?.promisedTerm ?? 0
    const { term, vote } = disk.hardState
    if (term < promisedTerm) {
      throw new Violation('monotony', `${id} promised in term ${promisedTerm}, restarts in ${term}`)
    }
    const terms: number[] = []
    for (let i = disk.baseIndex + 1; i <= disk.lastIndex; i++) terms.push(disk.durableTerm(i))
    this.#records.set(id, {
      ...options,
      id,
      disk,
      base: disk.baseIndex,
      baseTerm: disk.durableTerm(disk.baseIndex),
      terms,
      term,
      vote,
      commit: appliedIndex,
      applied: appliedIndex,
      ledTo: 0,
      promisedTerm,
      config,
      ticks: 0,
      heardTick: Number.NEGATIVE_INFINITY,
    })
  }

  ticked(id: NodeId): void {
    this.#record(id).ticks++
  }

  /** `before` and `after`: the receiver's status around the step. */
  received(message: Message, before: BasicStatus, after: BasicStatus): void {
    const record = this.#record(message.to)
    const { type, from, term } = message
    if (type === 'MsgApp' || type === 'MsgHeartbeat' || type === 'MsgSnap') {
      if (after.lead === from && after.term === term) record.heardTick = record.ticks
    } else if ((type === 'MsgVote' || type === 'MsgPreVote') && !message.transfer) {
      const age = record.ticks - record.heardTick
      const inLease =
        record.checkQuorum &&
        before.role === 'follower' &&
        before.lead !== 0 &&
        term > before.term &&
        age < record.electionTicks
      if (inLease && (after.term !== before.term || after.vote !== before.vote)) {
        throw new Violation('lease', `${record.id} follows ${from} ${age} ticks after its leader`)
      }
    }
  }

  /** Before the message reaches the network. */
  sent(message: Message): void {
    const { type, from, to, term, reject } = message
    if (type === 'MsgVoteResp' && !reject) this.#voted(from, term, to)
    if (type === 'MsgAppResp' || type === 'MsgVoteResp') {
      const record = this.#record(from)
      record.promisedTerm = Math.max(record.promisedTerm, term)
    }
  }

  #voted(voter: NodeId, term: number, candidate: NodeId): void {
    const key = term * 1024 + voter
    const previous = this.#votes.get(key)
    if (previous !== undefined && previous !== candidate) {
      throw new Violation(
        'election safety',
        `${voter} voted for ${previous} and ${candidate} in term ${term}`,
      )
    }
    this.#votes.set(key, candidate)
  }

  /** A Ready, before anything is done about it. */
  ready(id: NodeId, ready: Ready, role: BasicStatus['role']): void {
    const record = this.#record(id)
    const { snapshot, entries, hardState, committedEntries } = ready
    if (role === 'leader') record.ledTo = committedEntries.at(-1)?.index ?? record.ledTo
    if (snapshot !== null) this.#takeSnapshot(record, snapshot)
    if (entries.length > 0) this.#takeEntries(record, entries)
    if (hardState === null) return
    if (hardState.term < record.term) {
      throw new Violation('monotony', `the term of ${id} fell to ${hardState.term}`)
    }
    if (hardState.term === record.term && record.vote !== 0 && hardState.vote !== record.vote) {
      throw new Violation('election safety', `${id} changed its vote in term ${record.term}`)
    }
    record.term = hardState.term
    record.vote = hardState.vote
    this.#takeCommit(record, hardState.commit, role)
  }

  #takeSnapshot(record: Record, snapshot: Snapshot): void {
    const known = this.#committedAt(snapshot.index)
    if (known === undefined || known.term !== snapshot.term) {
      throw new Violation(
        'state-machine safety',
        `${record.id} gets a snapshot of what is not committed`,
      )
    }
    record.base = snapshot.index
    record.baseTerm = snapshot.term
    record.terms = []
  }

  #takeEntries(record: Record, entries: readonly Entry[]): void {
    const first = entries[0]!.index
    const last = record.base + record.terms.length
    if (first > last + 1)
      throw new Violation('log matching', `${record.id} leaves a gap at ${first}`)
    if (first <= record.commit) {
      throw new Violation('durability', `${record.id} cuts off committed entries from ${first}`)
    }
    record.terms.length = first - record.base - 1
    let previousTerm = termOf(record, first - 1)
    for (const entry of entries) {
      const key = entry.index * TERMS_MAX + entry.term
      const known = this.#ledger.get(key)
      if (known === undefined) {
        this.#ledger.set(key, { entry, previousTerm })
      } else if (known.previousTerm !== previousTerm || !isSame(known.entry, entry)) {
        throw new Violation(
          'log matching',
          `two logs differ at or before index ${entry.index} of term ${entry.term}`,
        )
      }
      if (entry.term < previousTerm) {
        throw new Violation('log matching', `terms fall at index ${entry.index} of ${record.id}`)
      }
      record.terms.push(entry.term)
      previousTerm = entry.term
    }
  }

  #takeCommit(record: Record, commit: number, role: BasicStatus['role']): void {
    if (commit < record.commit) {
      throw new Violation('monotony', `the commit index of ${record.id} fell to ${commit}`)
    }
    let fresh = false
    for (let index = Math.max(record.commit, record.base) + 1; index <= commit; index++) {
      const term = termOf(record, index)
      const known = this.#committedAt(index)
      if (known === undefined) {
        fresh = true
        this.#committed.push({ term, byTerm: record.term, digest: -1 })
      } else if (known.term !== term) {
        throw new Violation(
          'state-machine safety',
          `${record.id} commits term ${term} at ${index}, where term ${known.term} is committed`,
        )
      }
    }
    record.commit = commit
    if (fresh) this.#checkQuorumHas(record, commit, role)
  }

  /** The first report of a commit index must be the leader's, and rest on the disks of a quorum. */
  #checkQuorumHas(record: Record, commit: number, role: BasicStatus['role']): void {
    const { config, id } = record
    if (role !== 'leader') {
      throw new Violation('durability', `${id}, a ${role}, commits ${commit} before any leader`)
    }
    let own = commit
    const last = record.base + record.terms.length
    while (own < last && termOf(record, own) !== record.term) own++
    const holds = (member: NodeId): boolean => {
      const disk = this.#records.get(member)?.disk
      return disk?.durableTerm(own) === record.term || (disk?.baseIndex ?? 0) > own
    }
    if (termOf(record, own) !== record.term || !isQuorum(config, holds)) {
      throw new Violation(
        'durability',
        `${id} commits ${commit} in term ${record.term} without a quorum that has it on disk`,
      )
    }
  }

  /** Just before a committed entry is applied. */
  applying(id: NodeId, entry: Entry): void {
    const record = this.#record(id)
    const known = this.#committedAt(entry.index)
    if (entry.index !== record.applied + 1) {
      throw new Violation('state-machine safety', `${id} applies ${entry.index} out of order`)
    }
    if (known === undefined || known.term !== entry.term) {
      throw new Violation('state-machine safety', `${id} applies ${entry.index}, not committed`)
    }
    if (record.disk.durableTerm(entry.index) !== entry.term && entry.index > record.ledTo) {
      throw new Violation('durability', `${id} applies ${entry.index} before its disk has it`)
    }
    const ledger = this.#ledger.get(entry.index * TERMS_MAX + entry.term)
    if (ledger !== undefined && !isSame(ledger.entry, entry)) {
      throw new Violation('state-machine safety', `${id} applies something else at ${entry.index}`)
    }
    record.applied = entry.index
  }

  /** The state machine of `id` stands at `index`: by applying, by a snapshot, or after a start. */
  stands(id: NodeId, index: number, digest: number): void {
    const record = this.#record(id)
    record.applied = index
    // A snapshot is of what is committed.
    record.commit = Math.max(record.commit, index)
    const known = this.#committedAt(index)
    if (known === undefined) {
      throw new Violation('state-machine safety', `${id} stands at ${index}, not committed`)
    }
    if (known.digest === -1) known.digest = digest
    else if (known.digest !== digest) {
      throw new Violation('state-machine safety', `${id} has another state at ${index}`)
    }
  }

  configured(id: NodeId, index: number, config: ConfState): void {
    const record = this.#record(id)
    record.config = config
    const known = this.#configs.get(index)
    if (known !== undefined) {
      if (describe(known) !== describe(config)) {
        throw new Violation('configurations', `${id} has ${describe(config)} at ${index}`)
      }
      return
    }
    // A snapshot may be of a later index than the change it brings.
    const newest = this.#configs.get(this.#newestConfigIndex)!
    if (index <= this.#newestConfigIndex || describe(newest) === describe(config)) return
    if (!quorumsOverlap(newest, config)) {
      throw new Violation('configurations', `${describe(newest)} and ${describe(config)} can part`)
    }
    this.#configs.set(index, config)
    this.#newestConfigIndex = index
  }

  /** After every event that touched `id`. */
  after(id: NodeId, status: BasicStatus): void {
    this.checks++
    const record = this.#record(id)
    if (status.term < record.term) throw new Violation('monotony', `the term of ${id} fell`)
    if (status.commit < record.commit) throw new Violation('monotony', `the commit of ${id} fell`)
    if (status.role !== 'leader') return
    const leader = this.#leaders.get(status.term)
    if (leader === id) return
    if (leader !== undefined) {
      throw new Violation('election safety', `${leader} and ${id} lead in term ${status.term}`)
    }
    this.#leaders.set(status.term, id)
    // Or it could be elected in this term once more, with another log.
    record.promisedTerm = Math.max(record.promisedTerm, status.term)
    this.elections++
    this.#checkCompleteness(record, status.term)
  }

  #checkCompleteness(record: Record, term: number): void {
    let at = this.#committed.length - 1
    while (at > 0 && this.#committed[at]!.byTerm >= term) at--
    const index = this.#firstIndex + at
    if (index < record.base) return
    // By log matching, what is before it is equal as well.
    if (termOf(record, index) !== this.#committed[at]!.term) {
      throw new Violation(
        'leader completeness',
        `${record.id} leads term ${term} without the entry committed at ${index}`,
      )
    }
  }

  #committedAt(index: number): CommittedEntry | undefined {
    return this.#committed[index - this.#firstIndex]
  }

  #record(id: NodeId): Record {
    const record = this.#records.get(id)
    if (record === undefined) throw new Error(`no member ${id}`)
    return record
  }
}

/** 0 for an entry that is not there. */
function termOf(record: Record, index: number): number {
  if (index === record.base) return record.baseTerm
  return record.terms[index - record.base - 1] ?? 0
}

/** Whether the members with `has` can decide alone: by counting, half by half. */
export function isQuorum(config: ConfState, has: (id: NodeId) => boolean): boolean {
  const decides = (voters: readonly NodeId[]): boolean => {
    let count = 0
    for (const id of voters) if (has(id)) count++
    return voters.length === 0 || 2 * count > voters.length
  }
  return decides(config.voters) && decides(config.votersOutgoing)
}

/** False when some quorum of `a` has no member in common with some quorum of `b`: tried one by
 * one. */
export function quorumsOverlap(a: ConfState, b: ConfState): boolean {
  const lists = [a.voters, a.votersOutgoing, b.voters, b.votersOutgoing]
  const ids = [...new Set(lists.flat())]
  for (let set = 0; set < 1 << ids.length; set++) {
    const inSet = (id: NodeId): boolean => ((set >> ids.indexOf(id)) & 1) === 1
    if (isQuorum(a, inSet) && isQuorum(b, (id) => !inSet(id))) return false
  }
  return true
}

function isSame(a: Entry, b: Entry): boolean {
  if (a === b) return true
  if (a.term !== b.term || a.index !== b.index || a.type !== b.type) return false
  if (a.data.length !== b.data.length) return false
  return a.data.every((byte, i) => byte === b.data[i])
}

function describe(config: ConfState): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = config
  const half = `(${voters}) (${votersOutgoing})`
  return `${half} learners (${learners}) next (${learnersNext}) ${autoLeave}`
}
