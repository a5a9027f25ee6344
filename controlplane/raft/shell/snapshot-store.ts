// The snapshots in a member's database.
//
//   snapshot  idx, term, parts            the one that counts; at most one row
//   part      id, idx, n, key, sealed     its bytes, PART_BYTES at a time
//
// A member's own snapshot may be large, and the log must not wait for it: it is written a part at a
// time, each a transaction between the log's, and counts once its row in `snapshot` is there. Then
// its predecessor's parts go, a few at a time. What a crash leaves of one is swept up by the next.
// A snapshot from the leader takes the place of the log and is written in one transaction with it.

import type { DatabaseSync } from 'node:sqlite'
import { decodeSnapshot, encodeSnapshot } from '../codec.ts'
import type { Snapshot } from '../messages.ts'
import { StorageError } from './errors.ts'
import { PART_BYTES, SWEEP_PARTS } from './limits.ts'
import type { SealedRow, Vault } from './vault.ts'

interface Staged {
  readonly snapshot: Snapshot
  readonly bytes: Uint8Array
  readonly parts: number
  written: number
}

export class SnapshotStore {
  readonly #db: DatabaseSync
  readonly #vault: Vault
  /** Whose it is, for the seal. */
  readonly #owner: () => string
  #staged: Staged | null = null
  #sweeping = true

  constructor(db: DatabaseSync, vault: Vault, owner: () => string) {
    this.#db = db
    this.#vault = vault
    this.#owner = owner
  }

  load(): Snapshot | null {
    const row = this.#db.prepare('SELECT idx, term, parts FROM snapshot ORDER BY idx DESC').get()
    if (row === undefined) return null
    const [index, term, parts] = [Number(row.idx), Number(row.term), Number(row.parts)]
    const what = `The snapshot at ${index}`
    const rows = this.#db
      .prepare('SELECT n, key, sealed FROM part WHERE idx = ? ORDER BY n')
      .all(index)
    if (rows.length !== parts || rows.some(({ n }, i) => n !== i)) {
      throw new StorageError('missing-snapshot', `${what} has ${rows.length} parts of ${parts}.`)
    }
    const pieces = rows.map((part, n) =>
      this.#vault.open(part as unknown as SealedRow, this.#place(index, term, n, parts), what),
    )
    try {
      const snapshot = decodeSnapshot(Buffer.concat(pieces))
      if (snapshot.index === index && snapshot.term === term) return snapshot
    } catch {
      // The same complaint.
    }
    throw new StorageError('corrupt', `${what} is not one.`)
  }

  /** Within the caller's transaction: `snapshot` takes the place of any other. Returns its
   * bytes. */
  replace(snapshot: Snapshot): number {
    this.#staged = null
    this.#db.exec('DELETE FROM snapshot; DELETE FROM part')
    const staged = stage(snapshot)
    while (staged.written < staged.parts) this.#writePart(staged)
    this.#enter(staged)
    return staged.bytes.length
  }

  /** Begins to write this member's own snapshot; step() does the rest. */
  begin(snapshot: Snapshot): void {
    this.#db.prepare('DELETE FROM part WHERE idx = ?').run(snapshot.index)
    this.#staged = stage(snapshot)
  }

  get isBusy(): boolean {
    return this.#staged !== null || this.#sweeping
  }

  /** One short transaction's worth of work. Returns the bytes written, and what was completed. */
  step(): { readonly bytes: number; readonly completed: Snapshot | null } {
    const staged = this.#staged
    if (staged === null) {
      this.#sweep()
      return { bytes: 0, completed: null }
    }
    if (staged.written < staged.parts) return { bytes: this.#writePart(staged), completed: null }
    this.#db.exec('BEGIN IMMEDIATE; DELETE FROM snapshot')
    this.#enter(staged)
    this.#db.exec('COMMIT')
    this.#staged = null
    this.#sweeping = true
    return { bytes: 0, completed: staged.snapshot }
  }

  /** Seals some of the parts under other keys again. True when none is left. */
  resealSome(): boolean {
    const sql = `SELECT part.id, part.idx, n, key, sealed, term, parts
      FROM part JOIN snapshot ON snapshot.idx = part.idx WHERE part.key <> ? LIMIT ?`
    const rows = this.#db.prepare(sql).all(this.#vault.keyId, SWEEP_PARTS)
    const update = this.#db.prepare('UPDATE part SET key = ?, sealed = ? WHERE id = ?')
    for (const row of rows) {
      const [index, term, n] = [Number(row.idx), Number(row.term), Number(row.n)]
      const place = this.#place(index, term, n, Number(row.parts))
      const plain = this.#vault.open(row as unknown as SealedRow, place, `The snapshot at ${index}`)
      const { key, sealed } = this.#vault.seal(plain, place)
      update.run(key, sealed, Number(row.id))
    }
    return rows.length < SWEEP_PARTS && this.#staged === null
  }

  #writePart(staged: Staged): number {
    const { snapshot, bytes, parts, written: n } = staged
    const plain = bytes.subarray(n * PART_BYTES, (n + 1) * PART_BYTES)
    const { key, sealed } = this.#vault.seal(
      plain,
      this.#place(snapshot.index, snapshot.term, n, parts),
    )
    const sql = 'INSERT INTO part (idx, n, key, sealed) VALUES (?, ?, ?, ?)'
    this.#db.prepare(sql).run(snapshot.index, n, key, sealed)
    staged.written++
    return sealed.length
  }

  #enter({ snapshot: { index, term }, parts }: Staged): void {
    const sql = 'INSERT INTO snapshot (idx, term, parts) VALUES (?, ?, ?)'
    this.#db.prepare(sql).run(index, term, parts)
  }

  /** Removes some of what belongs to no snapshot that counts. */
  #sweep(): void {
    const sql = `DELETE FROM part WHERE id IN
      (SELECT id FROM part WHERE idx NOT IN (SELECT idx FROM snapshot) LIMIT ?)`
    const { changes } = this.#db.prepare(sql).run(SWEEP_PARTS)
    this.#sweeping = Number(changes) === SWEEP_PARTS
  }

  #place(index: number, term: number, n: number, parts: number): string {
    return `weft raft snapshot|${this.#owner()}|${index}|${term}|${n}|${parts}`
  }
}

function stage(snapshot: Snapshot): Staged {
  const bytes = encodeSnapshot(snapshot)
  return { snapshot, bytes, parts: Math.max(1, Math.ceil(bytes.length / PART_BYTES)), written: 0 }
}
