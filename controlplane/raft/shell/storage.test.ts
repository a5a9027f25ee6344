// Goal: what was confirmed is there after any end of the process, and a directory that is not what
// it should be is told by name and never opened. Method: real databases, copied as a kill would
// leave them, and spoilt one way at a time.

import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { hasState } from './database-file.ts'
import { Directory } from './directory.ts'
import type { StorageErrorCode } from './errors.ts'
import { PART_BYTES } from './limits.ts'
import { decodeRecord, encodeRecord } from './record.ts'
import { keyIdOf, newDataKey, open, Sealer } from './seal.ts'
import * as stored from './testing/stored.ts'
import { entry, load, Stored, snapshotAt, writeOf } from './testing/stored.ts'

type Test = Pick<typeof t, 'teardown' | 'throws'>

function folder(t: Test): (name: string) => string {
  const { path, remove } = stored.temporaryFolder()
  t.teardown(remove)
  return (name) => join(path, name)
}

/** A database with entries 2 to 20, as a kill leaves it: SQLite's log is not copied back yet. */
function killed(t: Test): { path: string; keys: Stored['keys']; wal: string; db: string } {
  const at = folder(t)
  const original = new Stored(at('original')).fill(20)
  const path = original.copy(at('copy'))
  original.close()
  return { path, keys: original.keys, wal: join(path, 'raft.db-wal'), db: join(path, 'raft.db') }
}

/** The same after a clean end: everything is in the database itself. */
function closed(t: Test): { path: string; keys: Stored['keys']; db: string } {
  const path = folder(t)('closed')
  const original = new Stored(path).fill(20)
  original.close()
  return { path, keys: original.keys, db: join(path, 'raft.db') }
}

function refuses(t: Test, code: StorageErrorCode, path: string, keys: Stored['keys']): void {
  t.throws(() => load(path, keys), { name: 'StorageError', code })
}

t.test('what is written is there after a kill', async (t) => {
  const { path, keys } = killed(t)
  const { snapshot, entries, hardState, incarnation, identity } = load(path, keys)
  t.same(identity, stored.IDENTITY)
  t.equal(snapshot?.index, 1)
  t.same(
    entries.map(({ index }) => index),
    Array.from({ length: 19 }, (_, i) => i + 2),
  )
  t.same(hardState, { term: 1, vote: 0, commit: 1 })
  t.equal(incarnation, 2)
  t.equal(load(path, keys).incarnation, 3, 'every start counts')
})

t.test('later entries replace earlier ones, also across writes', async (t) => {
  const path = folder(t)('x')
  const one = new Stored(path).fill(10)
  one.database.write(writeOf([entry(6, 2), entry(7, 2)]))
  one.database.write(writeOf([entry(8, 2), entry(7, 3)], {}, { term: 3, vote: 9, commit: 5 }))
  one.close()
  const { entries, hardState } = load(path, one.keys)
  t.same(
    entries.map(({ index, term }) => `${index}.${term}`),
    ['2.1', '3.1', '4.1', '5.1', '6.2', '7.3'],
  )
  t.same(hardState, { term: 3, vote: 9, commit: 5 })
})

t.test('a snapshot drops what it covers, and nothing that cuts back what stays', async (t) => {
  const path = folder(t)('x')
  const one = new Stored(path).fill(10)
  // Cuts back 6 to 10 of the records before it.
  one.database.write(writeOf([entry(6, 2)], {}, { term: 2, vote: 0, commit: 6 }))
  const hard = { term: 2, vote: 0, commit: 6 }
  one.checkpoint(snapshotAt(6, 2), 6)
  one.close()
  const { entries, snapshot } = load(path, one.keys)
  t.equal(snapshot?.index, 6)
  t.same(entries, [], 'what was cut back does not come back')
  const again = new Stored(path, one.keys, false)
  again.database.load()
  for (let index = 7; index <= 40; index++)
    again.database.write(writeOf([entry(index, 2)], {}, hard))
  const later = { term: 2, vote: 0, commit: 40 }
  again.database.write(writeOf([], {}, later))
  again.checkpoint(snapshotAt(40, 2), 35)
  const rows = again.database.handle.prepare('SELECT count(*) AS n FROM log').get()
  t.ok(Number(rows?.n) < 10, `${rows?.n} records are left`)
  again.database.write(writeOf([], { snapshot: snapshotAt(90, 3) }, later))
  again.close()
  const last = load(path, one.keys)
  t.equal(last.snapshot?.index, 90)
  t.same(last.entries, [], 'the leader said so')
})

t.test('a snapshot that a crash interrupted never was', async (t) => {
  const path = folder(t)('x')
  const one = new Stored(path).fill(30)
  const large = { ...snapshotAt(25), data: new Uint8Array(5 * PART_BYTES).fill(7) }
  one.database.checkpoint({ snapshot: large, compactTo: 20 })
  const at: string[] = []
  do at.push(one.copy(`${path}-${at.length}`))
  while (one.database.chore())
  one.close()
  t.ok(at.length > 6, `${at.length} moments`)
  const snapshots = at.map((copy) => {
    const again = new Stored(copy, one.keys, false)
    const { snapshot, entries } = again.database.load()
    t.equal(entries.at(-1)?.index, 30)
    t.equal(entries[0]?.index, snapshot!.index + 1)
    while (again.database.chore());
    const left = again.database.handle.prepare('SELECT DISTINCT idx FROM part').all()
    t.same(left, [{ idx: snapshot!.index }], 'what is left of others is swept up')
    again.close()
    return snapshot!.index
  })
  t.same([...new Set(snapshots)], [1, 25])
  t.equal(snapshots.at(-1), 25)
})

t.test('a snapshot waits for the one before it, and the newest wins', async (t) => {
  const path = folder(t)('x')
  const one = new Stored(path).fill(30)
  for (const index of [10, 15, 20]) {
    one.database.checkpoint({ snapshot: snapshotAt(index), compactTo: index - 2 })
  }
  while (one.database.chore());
  const rows = one.database.handle.prepare('SELECT min(last) AS first FROM log').get()
  t.equal(rows?.first, 19)
  one.close()
  t.equal(load(path, one.keys).snapshot?.index, 20)
})

t.test('a write that a crash tore is dropped, if nobody was told', async (t) => {
  const { path, keys, wal } = killed(t)
  const before = readFileSync(join(path, 'witness'))
  const one = new Stored(path, keys, false)
  one.database.load()
  one.database.write(writeOf([entry(21)]))
  const torn = one.copy(`${path}-torn`)
  const last = lastFrame(wal)
  one.close()
  writeFileSync(join(torn, 'witness'), before)
  stored.flip(join(torn, 'raft.db-wal'), last)
  const { entries } = load(torn, keys)
  t.equal(entries.at(-1)?.index, 20)
})

/** A byte in the page of the newest generation's last frame (SQLite file format, section 4). */
function lastFrame(path: string): number {
  const bytes = readFileSync(path)
  const salt = bytes.subarray(16, 24)
  const size = 24 + bytes.readUInt32BE(8)
  let at = 32
  while (at + size <= bytes.length && bytes.subarray(at + 8, at + 16).equals(salt)) at += size
  return at - size + 2000
}

t.test('confirmed writes that are gone are noticed', async (t) => {
  const { path, keys, wal } = killed(t)
  const torn = lastFrame(wal)
  t.ok(torn > 50_000, `${torn}`)
  stored.flip(wal, torn)
  refuses(t, 'lost-writes', path, keys)
  const other = killed(t)
  stored.flip(other.wal, 32 + 24 + 100)
  refuses(t, 'lost-writes', other.path, other.keys)
  const third = killed(t)
  rmSync(third.wal)
  t.throws(() => load(third.path, third.keys), { name: 'StorageError' })
  const fourth = killed(t)
  truncateSync(fourth.wal, lastFrame(fourth.wal) - 5000)
  refuses(t, 'lost-writes', fourth.path, fourth.keys)
})

t.test('damage is named', async (t) => {
  const flipped = closed(t)
  const bytes = readFileSync(flipped.db)
  const row = sealedRow(flipped.db)
  stored.flip(flipped.db, bytes.indexOf(row) + 20)
  refuses(t, 'corrupt-entry', flipped.path, flipped.keys)

  const truncated = closed(t)
  truncateSync(truncated.db, 8192)
  refuses(t, 'truncated', truncated.path, truncated.keys)
  truncateSync(truncated.db, 0)
  refuses(t, 'truncated', truncated.path, truncated.keys)

  const garbage = closed(t)
  writeFileSync(garbage.db, Buffer.alloc(20_000, 7))
  refuses(t, 'corrupt', garbage.path, garbage.keys)

  const gone = closed(t)
  rmSync(gone.db)
  refuses(t, 'missing-database', gone.path, gone.keys)

  const unread = closed(t)
  writeFileSync(join(unread.path, 'identity.json'), '{')
  refuses(t, 'corrupt', unread.path, unread.keys)
})

function sealedRow(path: string): Uint8Array {
  const db = new DatabaseSync(path, { readOnly: true })
  const row = db.prepare('SELECT sealed FROM log WHERE seq = 12').get()
  db.close()
  return row?.sealed as Uint8Array
}

/** Runs SQL on a closed database. */
function tamper(path: string, sql: string): void {
  const db = new DatabaseSync(path)
  db.exec(sql)
  db.close()
}

t.test('rows that were moved, left out or taken away are noticed', async (t) => {
  const swap = `UPDATE log SET sealed = (SELECT sealed FROM log AS o WHERE o.seq = 23 - log.seq)
    WHERE seq IN (11, 12)`
  const cases: [string, StorageErrorCode][] = [
    [swap, 'corrupt-entry'],
    ['DELETE FROM log WHERE seq = 12', 'corrupt'],
    ['DELETE FROM log WHERE seq > 15', 'lost-writes'],
    ['UPDATE log SET last = last + 1 WHERE seq = 9', 'corrupt-entry'],
    ['DELETE FROM snapshot', 'missing-snapshot'],
    ['UPDATE snapshot SET term = 9', 'corrupt-entry'],
    ['DELETE FROM part', 'missing-snapshot'],
    ['UPDATE part SET n = 1', 'missing-snapshot'],
    ['UPDATE part SET idx = 2; UPDATE snapshot SET idx = 2', 'corrupt-entry'],
    ['DELETE FROM log WHERE seq < 5', 'missing-snapshot'],
    ["UPDATE meta SET value = '2' WHERE name = 'format'", 'unknown-format'],
    ["UPDATE meta SET value = 'other' WHERE name = 'node_id'", 'foreign-identity'],
    ["UPDATE meta SET value = '4712' WHERE name = 'raft_id'", 'foreign-identity'],
    ["DELETE FROM meta WHERE name = 'raft_id'", 'corrupt'],
  ]
  for (const [sql, code] of cases) {
    const { path, keys, db } = closed(t)
    tamper(db, sql)
    t.throws(() => load(path, keys), { code }, sql)
  }
})

t.test('a member that was being made when a crash came is made anew', async (t) => {
  const at = folder(t)
  const one = new Stored(at('one'))
  const path = one.copy(at('crashed'))
  one.close()
  t.equal(hasState(path), false)
  const again = new Stored(path, one.keys).fill(3)
  again.close()
  t.equal(hasState(path), true)
  t.equal(load(path, one.keys).entries.length, 2)
  t.throws(() => new Stored(path, one.keys), { code: 'state-exists' })
  rmSync(join(path, 'identity.json'))
  t.equal(hasState(path), true, 'also without its identity')
  t.same(load(path, one.keys).identity, stored.IDENTITY)
})

t.test('another key, another member', async (t) => {
  const { path, keys } = closed(t)
  refuses(t, 'wrong-key', path, { current: newDataKey(), pending: null })
  t.ok(load(path, { current: newDataKey(), pending: keys.current }), 'a pending key opens as well')
  const empty = folder(t)('empty')
  refuses(t, 'no-state', empty, keys)
})

t.test('the data key changes, in spite of a crash', async (t) => {
  const path = folder(t)('x')
  const one = new Stored(path).fill(1200)
  const keys = { current: one.keys.current, pending: newDataKey() }
  one.database.changeKey(keys)
  t.equal(one.database.resealSome(), false, 'not in one go')
  one.database.write(writeOf([entry(1201)]))
  const crashed = one.copy(`${path}-crashed`)
  one.close()
  refuses(t, 'wrong-key', crashed, { current: keys.pending, pending: null })
  refuses(t, 'wrong-key', crashed, { current: keys.current, pending: null })
  const again = new Stored(crashed, keys, false)
  t.equal(again.database.load().entries.length, 1200)
  while (!again.database.resealSome());
  again.close()
  const { entries, snapshot } = load(crashed, { current: keys.pending, pending: null })
  t.equal(entries.at(-1)?.index, 1201)
  t.equal(snapshot?.index, 1)
  refuses(t, 'wrong-key', crashed, { current: keys.current, pending: null })
})

t.test('a directory belongs to one process', async (t) => {
  const path = folder(t)('x')
  const one = new Stored(path).fill(2)
  const inUse = { code: 'locked', message: new RegExp(`in use by process ${process.pid}`) }
  t.throws(() => new Directory(path), inUse)
  const program = `
    import { Directory } from ${JSON.stringify(new URL('directory.ts', import.meta.url).href)}
    try { new Directory(${JSON.stringify(path)}) } catch (error) { console.log(error.message) }`
  const flags = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program]
  t.match(execFileSync(process.execPath, flags).toString(), inUse.message)
  one.close()
  new Directory(path).close()
  const mode = (name: string): number => statSync(join(path, name)).mode & 0o777
  t.equal(mode('.'), 0o700)
  for (const name of ['raft.db', 'identity.json', 'witness', 'lock'])
    t.equal(mode(name), 0o600, name)
})

t.test('sealing', async (t) => {
  const key = newDataKey()
  const sealer = new Sealer(key)
  const plain = Buffer.from('plain')
  const sealed = sealer.seal(plain, 'here')
  t.same(open(key, sealed, 'here'), plain)
  t.equal(open(key, sealed, 'there'), null)
  t.equal(open(newDataKey(), sealed, 'here'), null)
  for (let at = 0; at < sealed.length; at++) {
    const spoilt = Uint8Array.from(sealed)
    spoilt[at]! ^= 1
    if (open(key, spoilt, 'here') !== null) t.fail(`byte ${at} does not matter`)
    if (open(key, sealed.subarray(0, at), 'here') !== null) t.fail(`${at} bytes are enough`)
  }
  const nonces = new Set(
    Array.from({ length: 1000 }, () => Buffer.from(sealer.seal(plain, '')).toString('hex', 0, 12)),
  )
  t.equal(nonces.size, 1000)
  t.not(keyIdOf(key), keyIdOf(newDataKey()))
  t.throws(() => new Sealer(new Uint8Array(16)), RangeError)
})

t.test('records', async (t) => {
  const record = {
    hardState: { term: 2 ** 40, vote: 2 ** 52, commit: 7 },
    entries: [
      entry(5),
      { ...entry(6), type: 'EntryConfChangeV2' as const, data: new Uint8Array(0) },
    ],
  }
  const bytes = encodeRecord(record)
  t.same(decodeRecord(bytes), record)
  for (let size = 0; size < bytes.length; size++) {
    if (decodeRecord(bytes.subarray(0, size)) !== null) t.fail(`${size} bytes are enough`)
  }
  for (let at = 0; at < bytes.length; at++) {
    const spoilt = Uint8Array.from(bytes)
    spoilt[at] = 0xff
    decodeRecord(spoilt)
  }
  t.pass('whatever the bytes')
})
