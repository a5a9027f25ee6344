// Compact binary forms of messages, entries, snapshots and membership changes: for the wire and for
// disk. The same value always gives the same bytes. The records below say what is in them, field
// after field:
//
//   number     LEB128, 7 bits per byte, least significant first, at most 2^53 - 1
//   bytes      number (length), then the bytes
//   list       number (count), then the items
//   optional   u8 (0 for null, 1), then the value if there is one
//   oneOf      u8, the position in the list of possible values
//
// A membership change that leaves a joint configuration is no bytes at all.
//
// Decoding checks every bound and every enumeration, and throws a DecodeError; what it returns
// refers to the input's memory instead of copying it.

import {
  CHANGE_TYPES,
  type ConfChange,
  type ConfChangeSingle,
  type ConfState,
  ENTRY_TYPES,
  type Entry,
  type HardState,
  MESSAGE_KINDS,
  type Message,
  type MessageType,
  NO_BYTES,
  type Snapshot,
  TRANSITIONS,
} from './messages.ts'

/** Bytes that no encoder made. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError'
}

const FIRST_CAPACITY = 64

interface Codec<T> {
  readonly write: (writer: Writer, value: T) => void
  readonly read: (reader: Reader) => T
}

const number: Codec<number> = {
  write: (writer, value) => writer.number(value),
  read: (reader) => reader.number(),
}
const bytes: Codec<Uint8Array> = {
  write: (writer, value) => writer.bytes(value),
  read: (reader) => reader.bytes(),
}
const boolean = oneOf([false, true])
const confState = record<ConfState>({
  voters: list(number),
  votersOutgoing: list(number),
  learners: list(number),
  learnersNext: list(number),
  autoLeave: boolean,
})
const snapshot = record<Snapshot>({ index: number, term: number, confState, data: bytes })
const entry = record<Entry>({ term: number, index: number, type: oneOf(ENTRY_TYPES), data: bytes })
const hardState = record<HardState>({ term: number, vote: number, commit: number })
const change = record<ConfChangeSingle>({ type: oneOf(CHANGE_TYPES), nodeId: number })
const confChange = record<ConfChange>({
  transition: oneOf(TRANSITIONS),
  changes: list(change),
  context: bytes,
})
const message = record<Message>({
  type: oneOf(Object.keys(MESSAGE_KINDS) as MessageType[]),
  to: number,
  from: number,
  term: number,
  index: number,
  logTerm: number,
  commit: number,
  reject: boolean,
  rejectHint: number,
  entries: list(entry),
  snapshot: optional(snapshot),
  transfer: boolean,
  readPosition: number,
  context: bytes,
})

type Encoder<T> = (value: T) => Uint8Array
type Decoder<T> = (bytes: Uint8Array) => T

export const encodeMessage: Encoder<Message> = encoder(message)
export const decodeMessage: Decoder<Message> = decoder(message)
export const encodeEntry: Encoder<Entry> = encoder(entry)
export const decodeEntry: Decoder<Entry> = decoder(entry)
export const encodeSnapshot: Encoder<Snapshot> = encoder(snapshot)
export const decodeSnapshot: Decoder<Snapshot> = decoder(snapshot)
export const encodeHardState: Encoder<HardState> = encoder(hardState)
export const decodeHardState: Decoder<HardState> = decoder(hardState)

const encodeChange = encoder(confChange)
const decodeChange = decoder(confChange)

/** Data of a membership change's entry. */
export function encodeConfChange(value: ConfChange): Uint8Array {
  const { transition, changes, context } = value
  const leaves = transition === 'auto' && changes.length === 0 && context.length === 0
  return leaves ? NO_BYTES : encodeChange(value)
}

/** The membership change in `entry`, which is not EntryNormal; null when its data is malformed. */
export function decodeConfChange({ data }: Pick<Entry, 'data'>): ConfChange | null {
  if (data.length === 0) return { transition: 'auto', changes: [], context: NO_BYTES }
  try {
    return decodeChange(data)
  } catch (error) {
    if (error instanceof DecodeError) return null
    throw error
  }
}

function encoder<T>(codec: Codec<T>): Encoder<T> {
  return (value) => {
    const writer = new Writer()
    codec.write(writer, value)
    return writer.finish()
  }
}

function decoder<T>(codec: Codec<T>): Decoder<T> {
  return (input) => {
    const reader = new Reader(input)
    const value = codec.read(reader)
    reader.end()
    return value
  }
}

function record<T extends object>(fields: { readonly [K in keyof T]: Codec<T[K]> }): Codec<T> {
  const parts = Object.entries(fields) as [keyof T, Codec<T[keyof T]>][]
  return {
    write: (writer, value) => {
      for (const [name, codec] of parts) codec.write(writer, value[name])
    },
    read: (reader) => {
      const value: Partial<T> = {}
      for (const [name, codec] of parts) value[name] = codec.read(reader)
      return value as T
    },
  }
}

function oneOf<T>(values: readonly T[]): Codec<T> {
  return {
    write: (writer, value) => writer.byte(values.indexOf(value)),
    read: (reader) => {
      const code = reader.byte()
      if (code >= values.length) throw new DecodeError(`unknown code ${code}`)
      return values[code] as T
    },
  }
}

function list<T>(item: Codec<T>): Codec<readonly T[]> {
  return {
    write: (writer, values) => {
      writer.number(values.length)
      for (const value of values) item.write(writer, value)
    },
    read: (reader) => {
      const count = reader.number()
      // Every item takes a byte at least, so a count cannot make us reserve more than the input's
      // size.
      if (count > reader.rest) throw new DecodeError('truncated')
      const values: T[] = []
      for (let i = 0; i < count; i++) values.push(item.read(reader))
      return values
    },
  }
}

function optional<T>(item: Codec<T>): Codec<T | null> {
  return {
    write: (writer, value) => {
      boolean.write(writer, value !== null)
      if (value !== null) item.write(writer, value)
    },
    read: (reader) => (boolean.read(reader) ? item.read(reader) : null),
  }
}

class Writer {
  #bytes = new Uint8Array(FIRST_CAPACITY)
  #at = 0

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#at++] = value
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
    if (length > this.rest) throw new DecodeError('truncated')
    const value = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return value
  }

  /** Bytes not read yet. */
  get rest(): number {
    return this.#bytes.length - this.#at
  }

  end(): void {
    if (this.rest > 0) throw new DecodeError('trailing bytes')
  }
}
