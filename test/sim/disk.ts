// A member's disk: an append-only log of records and a header that says how far it was synced, as a
// write-ahead log has them.
//
// - Writes take time, and go on one after the other. Until a sync they are only in the cache.
// - A crash keeps a random beginning of what is not synced. The record it tears is found by its
//   checksum; as it lies behind the synced part, it was never promised, and the log ends before
//   it.
// - A full disk fails the write. The beginning that did fit may be found later, like after a crash.
// - Rot damages something that was synced. That too is found by the checksum, and is no torn tail:
//   the member is lost and must never come back under its id.
//
// A record is kept as the value it encodes until something damages it: only then is it encoded,
// spoilt, and found by its checksum. Not simulated: directories, misdirected writes, two faults in
// one record.

import { crc32 } from 'node:zlib'
import type { Prng } from '../../base/prng.ts'
import { encodeEntry, encodeHardState, encodeSnapshot } from '../../controlplane/raft/codec.ts'
import type { LogWrite } from '../../controlplane/raft/driver.ts'
import { MemoryStorage } from '../../controlplane/raft/memory-storage.ts'
import {
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  type Entry,
  type HardState,
  type Snapshot,
} from '../../controlplane/raft/messages.ts'

type StoredRecord =
  | { readonly kind: 'snapshot'; readonly value: Snapshot }
  | { readonly kind: 'entry'; readonly value: Entry }
  | { readonly kind: 'hardState'; readonly value: HardState }
  | { readonly kind: 'checkpoint'; readonly value: Snapshot; readonly compactTo: number }

/** Bytes as they lie on the disk, and the checksum written with them. */
interface Damaged {
  readonly bytes: Uint8Array
  readonly checksum: number
}

export class Disk {
  readonly #random: Prng
  #cached: StoredRecord[] = []
  // What the synced records amount to.
  #snapshot: Snapshot | null = null
  #hardState: HardState = EMPTY_HARD_STATE
  #baseIndex = 0
  #baseTerm = 0
  #entries: Entry[] = []
  #rotten: Damaged | null = null
  full = false
  /** Torn records that recovery found and cut off. */
  tornCount = 0

  constructor(random: Prng) {
    this.#random = random
  }

  /** Takes records into the cache. False when the disk is full: only some of them got there. */
  write(writes: readonly LogWrite[]): boolean {
    const records = writes.flatMap(recordsOf)
    if (this.full) {
      for (const record of records.slice(0, this.#random.below(records.length))) {
        this.#cached.push(record)
      }
      return false
    }
    for (const record of records) this.#cached.push(record)
    return true
  }

  /** Makes the first `count` cached records durable. */
  sync(count: number): void {
    for (const record of this.#cached.splice(0, count)) this.#commit(record)
  }

  get cachedCount(): number {
    return this.#cached.length
  }

  /** The machine stops: part of the cache is lost, and perhaps one record torn. */
  crash(): void {
    const cached = this.#cached
    this.#cached = []
    if (cached.length === 0) return
    const whole = this.#random.below(cached.length + 1)
    for (const record of cached.slice(0, whole)) this.#commit(record)
    const next = cached[whole]
    if (next === undefined || this.#random.below(2) === 0) return
    const bytes = encode(next)
    const torn = { bytes: bytes.subarray(0, bytes.length - 1), checksum: crc32(bytes) }
    if (isIntact(torn)) throw new Error('a torn record passed its checksum')
    this.tornCount++
  }

  /** A bit of something synced flips. False if there is nothing yet. */
  rot(): boolean {
    const entry = this.#entries[this.#random.below(this.#entries.length + 1)]
    const bytes = entry === undefined ? encodeHardState(this.#hardState) : encodeEntry(entry)
    const checksum = crc32(bytes)
    const bit = this.#random.below(bytes.length * 8)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    this.#rotten = { bytes, checksum }
    return true
  }

  /** Reads everything back; null when something synced is damaged. Without `keepsCommit` the
   * commit index is as old as the snapshot: Raft allows that, and finds it out anew. */
  open(keepsCommit: boolean): MemoryStorage | null {
    if (this.#rotten !== null && !isIntact(this.#rotten)) return null
    const storage = new MemoryStorage(EMPTY_CONF_STATE)
    if (this.#snapshot !== null) storage.applySnapshot(this.#snapshot)
    storage.append(this.#entries)
    storage.hardState = { ...this.#hardState, commit: this.durableCommit(keepsCommit) }
    return storage
  }

  /** The commit index that a restart would find. */
  durableCommit(keepsCommit: boolean): number {
    return keepsCommit ? this.#hardState.commit : (this.#snapshot?.index ?? 0)
  }

  /** Term of the durable entry at `index`, `baseIndex` included; 0 if there is none. */
  durableTerm(index: number): number {
    if (index === this.#baseIndex) return this.#baseTerm
    return this.#entries[index - this.#baseIndex - 1]?.term ?? 0
  }

  /** Entries up to here are only in the snapshot. */
  get baseIndex(): number {
    return this.#baseIndex
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#entries.length
  }

  get hardState(): HardState {
    return this.#hardState
  }

  /** What a founding member's disk is made with. */
  format(snapshot: Snapshot, hardState: HardState): void {
    this.#commit({ kind: 'snapshot', value: snapshot })
    this.#commit({ kind: 'hardState', value: hardState })
  }

  #commit(record: StoredRecord): void {
    switch (record.kind) {
      case 'snapshot':
        this.#snapshot = record.value
        this.#baseIndex = record.value.index
        this.#baseTerm = record.value.term
        this.#entries = []
        break
      case 'entry':
        this.#commitEntry(record.value)
        break
      case 'hardState':
        this.#hardState = record.value
        break
      case 'checkpoint':
        if (record.value.index <= this.#baseIndex) break
        this.#snapshot = record.value
        this.#compact(record.compactTo)
        break
    }
  }

  #commitEntry(entry: Entry): void {
    const at = entry.index - this.#baseIndex - 1
    if (at < 0) return
    if (at > this.#entries.length) throw new Error(`disk: gap before entry ${entry.index}`)
    this.#entries.length = at
    this.#entries.push(entry)
  }

  #compact(index: number): void {
    if (index <= this.#baseIndex) return
    this.#baseTerm = this.durableTerm(index)
    this.#entries.splice(0, index - this.#baseIndex)
    this.#baseIndex = index
  }
}

function recordsOf({
  snapshot,
  entries,
  hardState,
  checkpoint,
  compactTo,
}: LogWrite): StoredRecord[] {
  const records: StoredRecord[] = []
  if (snapshot !== null) records.push({ kind: 'snapshot', value: snapshot })
  for (const value of entries) records.push({ kind: 'entry', value })
  if (hardState !== null) records.push({ kind: 'hardState', value: hardState })
  if (checkpoint !== null) records.push({ kind: 'checkpoint', value: checkpoint, compactTo })
  return records
}

function encode(record: StoredRecord): Uint8Array {
  if (record.kind === 'entry') return encodeEntry(record.value)
  if (record.kind === 'hardState') return encodeHardState(record.value)
  return encodeSnapshot(record.value)
}

function isIntact({ bytes, checksum }: Damaged): boolean {
  return crc32(bytes) === checksum
}
