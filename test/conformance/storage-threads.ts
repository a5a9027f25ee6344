// The two storage threads that etcd's tests with async-storage-writes speak of, acted out for our
// core, which knows no such threads: it hands out Readies and hears persisted() and applied() for
// each.
//
// A Ready becomes an append job and an apply job, each with the messages that follow from it. The
// core is told when the last message of a job to this member itself was delivered.

import type { NodeId } from '../../controlplane/raft/messages.ts'
import type { RawNode } from '../../controlplane/raft/raw-node.ts'
import type { Ready } from '../../controlplane/raft/types.ts'
import { describeEntry, describeMessage, describeSnapshot } from './describe.ts'

/** A message on its way, whether of the protocol or from a storage thread. */
export interface Parcel {
  readonly to: NodeId
  readonly type: string
  readonly text: string
  /** Within one member: never lost. */
  readonly local: boolean
  /** What its arrival does; null while nobody has said. */
  readonly delivered: (() => void) | null
}

interface Job {
  readonly ready: Ready
  /** The job as etcd prints it, without responses; null when there is nothing to do. */
  readonly text: string | null
  readonly responses: Parcel[]
  /** Messages to this member not delivered yet. */
  outstanding: number
  done: boolean
}

/** Makes the parcel of a message to another member. */
export type Wrap = (message: Ready['messages'][number]) => Parcel

export class StorageThread {
  readonly #acknowledge: () => void
  // In order of the Readies: acknowledged ones leave at the front.
  readonly #jobs: Job[] = []

  /** `acknowledge` is called once per job, in order. */
  constructor(acknowledge: () => void) {
    this.#acknowledge = acknowledge
  }

  get busy(): boolean {
    return this.#jobs.some(({ done }) => !done)
  }

  /** Adds a job. One without text has nothing to do and no responses: it is done at once.
   * Returns the text with the responses. */
  add(ready: Ready, text: string | null, responses: readonly Parcel[]): string | null {
    const job: Job = { ready, text, responses: [], outstanding: 0, done: text === null }
    this.#jobs.push(job)
    if (text === null) {
      this.#settle()
      return null
    }
    for (const parcel of responses) job.responses.push(this.#counted(job, parcel))
    return responses.length === 0 ? text : `${text} Responses:[\n${indent(responses)}\n]`
  }

  /** The oldest job not done, now done; null when there is none. */
  next(): Job | null {
    const job = this.#jobs.find(({ done }) => !done) ?? null
    if (job !== null) job.done = true
    return job
  }

  /** To be called when what next() returned was carried out. */
  finish(): void {
    this.#settle()
  }

  #counted(job: Job, parcel: Parcel): Parcel {
    if (!parcel.local) return parcel
    job.outstanding++
    const delivered = (): void => {
      job.outstanding--
      this.#settle()
    }
    return { ...parcel, delivered }
  }

  #settle(): void {
    while (this.#jobs[0]?.done && this.#jobs[0].outstanding === 0) {
      this.#jobs.shift()
      this.#acknowledge()
    }
  }
}

export class StorageThreads {
  readonly append: StorageThread
  readonly apply: StorageThread
  readonly #id: NodeId
  readonly #wrap: Wrap

  constructor(id: NodeId, node: RawNode, wrap: Wrap) {
    this.#id = id
    this.#wrap = wrap
    this.append = new StorageThread(() => node.persisted())
    this.apply = new StorageThread(() => node.applied())
  }

  /** Takes the jobs of a Ready. Returns their texts. */
  take(ready: Ready): string[] {
    const texts = [
      this.append.add(ready, this.#appendText(ready), this.#appendResponses(ready)),
      this.apply.add(ready, this.#applyText(ready), this.#applyResponses(ready)),
    ]
    return texts.filter((text) => text !== null)
  }

  #appendText({ hardState, entries, snapshot, receipt }: Ready): string | null {
    const idle = hardState === null && entries.length === 0 && snapshot === null
    if (idle && receipt.messages.length === 0) return null
    let text = `${this.#id.toString(16)}->AppendThread MsgStorageAppend`
    text += ` Term:${hardState?.term ?? 0} Log:0/0`
    if (hardState !== null && hardState.commit !== 0) text += ` Commit:${hardState.commit}`
    if (hardState !== null && hardState.vote !== 0) text += ` Vote:${hardState.vote}`
    text += entriesText(entries)
    return snapshot === null ? text : `${text}\n  Snapshot: ${describeSnapshot(snapshot)}`
  }

  #appendResponses({ snapshot, receipt }: Ready): Parcel[] {
    const parcels = receipt.messages.map((message): Parcel => {
      if (message.to !== this.#id) return this.#wrap(message)
      return { ...this.#local(message.type), text: describeMessage(message) }
    })
    if (receipt.lastIndex > 0 || snapshot !== null) {
      const type = 'MsgStorageAppendResp'
      let text = `AppendThread->${this.#id.toString(16)} ${type} Term:${receipt.term}`
      text += ` Log:${receipt.lastTerm}/${receipt.lastIndex}`
      if (snapshot !== null) text += `\n  Snapshot: ${describeSnapshot(snapshot)}`
      parcels.push({ ...this.#local(type), text })
    }
    return parcels
  }

  #applyText({ committedEntries }: Ready): string | null {
    if (committedEntries.length === 0) return null
    const from = this.#id.toString(16)
    return `${from}->ApplyThread MsgStorageApply Term:0 Log:0/0${entriesText(committedEntries)}`
  }

  #applyResponses({ committedEntries }: Ready): Parcel[] {
    if (committedEntries.length === 0) return []
    const type = 'MsgStorageApplyResp'
    const to = this.#id.toString(16)
    const text = `ApplyThread->${to} ${type} Term:0 Log:0/0${entriesText(committedEntries)}`
    return [{ ...this.#local(type), text }]
  }

  #local(type: string): Parcel {
    return { to: this.#id, type, text: '', local: true, delivered: null }
  }
}

function entriesText(entries: Ready['entries']): string {
  if (entries.length === 0) return ''
  if (entries.length === 1) return ` Entries:[${describeEntry(entries[0]!)}]`
  return ` Entries:[${entries.map((entry) => `\n  ${describeEntry(entry)}`).join('')}\n]`
}

function indent(parcels: readonly Parcel[]): string {
  const lines = parcels.flatMap(({ text }) => text.split('\n'))
  return lines.map((line) => `  ${line}`).join('\n')
}
