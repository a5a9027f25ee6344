// Compact binary forms of messages, entries, snapshots and membership changes: for the wire and for
// disk. The same value always gives the same bytes.
//
//   number   LEB128, 7 bits per byte, least significant first, at most 2^53 - 1
//   bytes    number (length), then the bytes
//   list     number (count), then the items
//
//   entry        number term, number index, u8 type, bytes data
//   confState    list voters, list votersOutgoing, list learners, list learnersNext, u8 autoLeave
//   snapshot     number index, number term, confState, bytes data
//   hardState    number term, number vote, number commit
//   message      u8 type, u8 flags, number to, from, term, index, logTerm, commit, rejectHint,
//                readPosition, bytes context, list of entries, snapshot if flagged
//   confChange   u8 transition, list of (u8 type, number nodeId), bytes context
//                (an empty confChange leaves a joint configuration and is no bytes at all)
//
// Decoding checks every bound and every enumeration, and throws a DecodeError; what it returns
// refers to the input's memory instead of copying it.

import type {
  ConfChange,
  ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  ConfState,
  Entry,
  EntryType,
  HardState,
  Message,
  MessageType,
  Snapshot,
} from './messages.ts'
import { NO_BYTES } from './messages.ts'

/** Bytes that no encoder made. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError'
}

// The position of a name is its code. Append only: the codes are on disks and wires.
const ENTRY_TYPES: readonly EntryType[] = ['EntryNormal', 'EntryConfChange', 'EntryConfChangeV2']
const TRANSITIONS: readonly ConfChangeTransition[] = ['auto', 'joint-implicit', 'joint-explicit']
const CHANGE_TYPES: readonly ConfChangeType[] = ['add-voter', 'remove', 'update', 'add-learner']
const MESSAGE_TYPES: readonly MessageType[] = [
  'MsgHup',
  'MsgBeat',
  'MsgProp',
  'MsgApp',
  'MsgAppResp',
  'MsgVote',
  'MsgVoteResp',
  'MsgSnap',
  'MsgHeartbeat',
  'MsgHeartbeatResp',
  'MsgUnreachable',
  'MsgSnapStatus',
  'MsgCheckQuorum',
  'MsgTransferLeader',
  'MsgTimeoutNow',
  'MsgReadIndex',
  'MsgReadIndexResp',
  'MsgPreVote',
  'MsgPreVoteResp',
  'MsgForgetLeader',
]

const FLAG_REJECT = 1
const FLAG_TRANSFER = 2
const FLAG_SNAPSHOT = 4
const FIRST_CAPACITY = 256

export function encodeMessage(message: Message): Uint8Array {
  const writer = new Writer(FIRST_CAPACITY)
  writer.code(MESSAGE_TYPES, message.type)
  writer.byte(
    (message.reject ? FLAG_REJECT : 0) |
      (message.transfer ? FLAG_TRANSFER : 0) |
      (message.snapshot !== null ? FLAG_SNAPSHOT : 0),
  )
  writer.number(message.to)
  writer.number(message.from)
  writer.number(message.term)
  writer.number(message.index)
  writer.number(message.logTerm)
  writer.number(message.commit)
  writer.number(message.rejectHint)
  writer.number(message.readPosition)
  writer.bytes(message.context)
  writer.number(message.entries.length)
  for (const entry of message.entries) writeEntry(writer, entry)
  if (message.snapshot !== null) writeSnapshot(writer, message.snapshot)
  return writer.finish()
}

export function decodeMessage(bytes: Uint8Array): Message {
  const reader = new Reader(bytes)
  const type = reader.code(MESSAGE_TYPES)
  const flags = reader.byte()
  if (flags > (FLAG_REJECT | FLAG_TRANSFER | FLAG_SNAPSHOT)) throw new DecodeError('unknown flags')
  const message: Message = {
    type,
    reject: (flags & FLAG_REJECT) !== 0,
    transfer: (flags & FLAG_TRANSFER) !== 0,
    to: reader.number(),
    from: reader.number(),
    term: reader.number(),
    index: reader.number(),
    logTerm: reader.number(),
    commit: reader.number(),
    rejectHint: reader.number(),
    readPosition: reader.number(),
    context: reader.bytes(),
    entries: reader.list(readEntry),
    snapshot: (flags & FLAG_SNAPSHOT) !== 0 ? readSnapshot(reader) : null,
  }
  reader.end()
  return message
}

export function encodeEntry(entry: Entry): Uint8Array {
  const writer = new Writer(entry.data.length + 32)
  writeEntry(writer, entry)
  return writer.finish()
}

export function decodeEntry(bytes: Uint8Array): Entry {
  return whole(bytes, readEntry)
}

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const writer = new Writer(snapshot.data.length + FIRST_CAPACITY)
  writeSnapshot(writer, snapshot)
  return writer.finish()
}

export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  return whole(bytes, readSnapshot)
}

export function encodeHardState({ term, vote, commit }: HardState): Uint8Array {
  const writer = new Writer(32)
  writer.number(term)
  writer.number(vote)
  writer.number(commit)
  return writer.finish()
}

export function decodeHardState(bytes: Uint8Array): HardState {
  return whole(bytes, (reader) => ({
    term: reader.number(),
    vote: reader.number(),
    commit: reader.number(),
  }))
}

/** Data of a membership change's entry. */
export function encodeConfChange(change: ConfChange): Uint8Array {
  const { transition, changes, context } = change
  if (transition === 'auto' && changes.length === 0 && context.length === 0) return NO_BYTES
  const writer = new Writer(32 + context.length)
  writer.code(TRANSITIONS, transition)
  writer.number(changes.length)
  for (const { type, nodeId } of changes) {
    writer.code(CHANGE_TYPES, type)
    writer.number(nodeId)
  }
  writer.bytes(context)
  return writer.finish()
}

/** The membership change in `entry`, which is not EntryNormal; null when its data is malformed. */
export function decodeConfChange(entry: Pick<Entry, 'data'>): ConfChange | null {
  if (entry.data.length === 0) return { transition: 'auto', changes: [], context: NO_BYTES }
  try {
    return whole(entry.data, (reader) => ({
      transition: reader.code(TRANSITIONS),
      changes: reader.list(readChange),
      context: reader.bytes(),
    }))
  } catch (error) {
    if (error instanceof DecodeError) return null
    throw error
  }
}

function writeEntry(writer: Writer, entry: Entry): void {
  writer.number(entry.term)
  writer.number(entry.index)
  writer.code(ENTRY_TYPES, entry.type)
  writer.bytes(entry.data)
}

function readEntry(reader: Reader): Entry {
  return {
    term: reader.number(),
    index: reader.number(),
    type: reader.code(ENTRY_TYPES),
    data: reader.bytes(),
  }
}

function readChange(reader: Reader): ConfChangeSingle {
  return { type: reader.code(CHANGE_TYPES), nodeId: reader.number() }
}

function writeSnapshot(writer: Writer, { index, term, confState, data }: Snapshot): void {
  writer.number(index)
  writer.number(term)
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = confState
  for (const ids of [voters, votersOutgoing, learners, learnersNext]) {
    writer.number(ids.length)
    for (const id of ids) writer.number(id)
  }
  writer.byte(autoLeave ? 1 : 0)
  writer.bytes(data)
}

function readSnapshot(reader: Reader): Snapshot {
  return {
    index: reader.number(),
    term: reader.number(),
    confState: readConfState(reader),
    data: reader.bytes(),
  }
}

function readConfState(reader: Reader): ConfState {
  const id = (from: Reader): number => from.number()
  return {
    voters: reader.list(id),
    votersOutgoing: reader.list(id),
    learners: reader.list(id),
    learnersNext: reader.list(id),
    autoLeave: reader.code([false, true]),
  }
}

function whole<T>(bytes: Uint8Array, read: (reader: Reader) => T): T {
  const reader = new Reader(bytes)
  const value = read(reader)
  reader.end()
  return value
}

class Writer {
  #bytes: Uint8Array
  #at = 0

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity)
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#at++] = value
  }

  code<T>(names: readonly T[], name: T): void {
    this.byte(names.indexOf(name))
  }

  number(value: number): void {
    this.#reserve(8)
    // Division, not shifts: shifts stop at 32 bits.
    let rest = value
    while (rest >= 0x80) {
      this.#bytes[this.#at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#bytes[this.#at++] = rest
  }

  bytes(value: Uint8Array): void {
    this.number(value.length)
    this.#reserve(value.length)
    this.#bytes.set(value, this.#at)
    this.#at += value.length
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at)
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + count))
    grown.set(this.#bytes.subarray(0, this.#at))
    this.#bytes = grown
  }
}

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  byte(): number {
    const value = this.#bytes[this.#at]
    if (value === undefined) throw new DecodeError('truncated')
    this.#at++
    return value
  }

  code<T>(names: readonly T[]): T {
    const code = this.byte()
    const name = names[code]
    if (name === undefined) throw new DecodeError(`unknown code ${code}`)
    return name
  }

  number(): number {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError('number too large')
      if (byte < 0x80) {
        // One encoding per value: no trailing zero bytes.
        if (byte === 0 && scale > 1) throw new DecodeError('number not in shortest form')
        return value
      }
      scale *= 0x80
    }
  }

  bytes(): Uint8Array {
    const length = this.number()
    if (length > this.#bytes.length - this.#at) throw new DecodeError('truncated')
    const value = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return value
  }

  list<T>(read: (reader: Reader) => T): T[] {
    const count = this.number()
    // Every item takes a byte at least, so a count cannot make us reserve more than the input's
    // size.
    if (count > this.#bytes.length - this.#at) throw new DecodeError('truncated')
    const items: T[] = []
    for (let i = 0; i < count; i++) items.push(read(this))
    return items
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new DecodeError('trailing bytes')
  }
}
