// Goal: a node's key file changes in one piece, keeps its secrets from everybody without the key
// encryption key, and tells damage apart from a wrong key.
// Method: files in a folder of the test's own; every byte of a file is damaged once; a crash is a
// temporary file that was left.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as immediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { KeyProvider } from '../raft/shell/keys.ts'
import { followUnlockKey } from './cluster.ts'
import {
  createIdentity,
  EXPIRED,
  identityPaths,
  readIdentity,
  removeIdentity,
  replacePair,
  replaceRoot,
} from './identity.ts'
import { KeyFile, LOCKED, WRONG_KEY } from './key-file.ts'
import { pkcs8Of } from './keys.ts'
import { newKek, open, parseUnlockKey, seal, unlockKeyText } from './seal.ts'
import { ALICE, NOW_MS, testNode, testSwarm } from './testing/doubles.ts'

const YEAR_MS = 365 * 86_400_000

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-key-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

t.test('sealing', async (t) => {
  const kek = newKek()
  const secret = Buffer.from('a secret')
  const sealed = seal(kek, 'one', secret)
  t.same(open(kek, 'one', sealed), secret)
  t.equal(open(kek, 'two', sealed), null)
  t.equal(open(newKek(), 'one', sealed), null)
  t.equal(open(kek.subarray(1), 'one', sealed), null)
  for (let at = 0; at < sealed.length; at++) {
    const damaged = Buffer.from(sealed)
    damaged[at]! ^= 1
    t.equal(open(kek, 'one', damaged), null, `byte ${at}`)
    t.equal(open(kek, 'one', sealed.subarray(0, at)), null, `cut at ${at}`)
  }
  t.notSame(seal(kek, 'one', secret), sealed, 'no nonce twice')
})

t.test('the unlock key as people see it', async (t) => {
  const kek = newKek()
  const text = unlockKeyText(kek)
  t.match(text, /^SWMKEY-1-[A-Za-z0-9+/]{43}$/)
  t.same(parseUnlockKey(text), kek)
  const bad = ['', 'x', text.slice(1), text.slice(0, -1), `${text}=`, `${text}\n`, ` ${text}`]
  // The last letter holds four bits of the key and two that must be zero.
  bad.push(`SWMKEY-1-${'A'.repeat(42)}B`, text.replace('KEY', 'TKN'))
  for (const wrong of bad) {
    t.throws(() => parseUnlockKey(wrong), {
      code: 'INVALID_ARGUMENT',
      message: 'invalid key string',
    })
  }
})

t.test('a key file, not locked', async (t) => {
  const path = join(folder(t), 'k')
  t.equal(KeyFile.read(path), null)
  const swarm = testSwarm()
  const node = testNode(swarm)
  const file = KeyFile.create(path, node.key, node.chain)
  t.equal(statSync(path).mode & 0o777, 0o600)
  // What the Raft storage asks for its keys.
  const provider: KeyProvider = file
  const keys = await provider.unwrap()
  t.equal(keys.current.length, 32)
  t.same(await KeyFile.read(path)!.unwrap(), keys, 'the data key is kept')
  await file.replace({ current: keys.current, pending: Buffer.alloc(32, 7) })
  t.same((await KeyFile.read(path)!.unwrap()).pending, Buffer.alloc(32, 7))
  const renewed = testNode(swarm)
  file.replaceIdentity(renewed.key, renewed.chain)
  const again = KeyFile.read(path)!
  t.ok(pkcs8Of(again.privateKey).equals(pkcs8Of(renewed.key)))
  t.equal(again.chain, renewed.chain)
  t.same((await again.unwrap()).current, keys.current, 'a renewal leaves the data key alone')
  t.throws(() => file.replaceIdentity(node.key, renewed.chain), /does not belong/)
  t.throws(() => again.unlock(newKek()), /swarm is not locked/)
  await t.rejects(again.replace({ current: Buffer.alloc(31), pending: null }), /32 bytes/)
  again.forgetDataKeys()
  t.notMatch(readFileSync(path, 'utf8'), /raft-dek/)
})

t.test('a key file under lock and key', async (t) => {
  const path = join(folder(t), 'k')
  const node = testNode(testSwarm())
  const file = KeyFile.create(path, node.key, node.chain)
  const keys = await file.unwrap()
  await file.replace({ current: keys.current, pending: Buffer.alloc(32, 7) })
  const kek = newKek()
  file.rotateKek(kek, 4)
  t.notOk(file.isLocked, 'who seals it knows the key')
  const text = readFileSync(path, 'utf8')
  for (const secret of [pkcs8Of(node.key), Buffer.from(keys.current), Buffer.alloc(32, 7), kek]) {
    t.notMatch(text.replaceAll('\n', ''), secret.toString('base64').slice(0, 40))
  }
  const locked = KeyFile.read(path)!
  t.ok(locked.isLocked)
  t.ok(locked.isSealed)
  t.equal(locked.kekVersion, 4)
  t.equal(locked.chain, node.chain, 'who it is can be asked while it is locked')
  t.throws(() => locked.privateKey, { code: 'FAILED_PRECONDITION', message: LOCKED })
  await t.rejects(locked.unwrap(), { message: LOCKED })
  t.throws(() => locked.rotateKek(null, 9), { message: LOCKED })
  t.throws(() => locked.unlock(newKek()), { code: 'UNAUTHENTICATED', message: WRONG_KEY })
  t.throws(() => locked.unlock(Buffer.alloc(3)), { message: WRONG_KEY })
  t.ok(locked.isLocked)
  locked.unlock(kek)
  t.same((await locked.unwrap()).current, keys.current)
  t.ok(pkcs8Of(locked.privateKey).equals(pkcs8Of(node.key)))
  // Another key, and then none. An older version is nothing new.
  const next = newKek()
  locked.rotateKek(next, 4)
  t.doesNotThrow(() => KeyFile.read(path)!.unlock(kek))
  locked.rotateKek(next, 5)
  t.throws(() => KeyFile.read(path)!.unlock(kek), { message: WRONG_KEY })
  t.doesNotThrow(() => KeyFile.read(path)!.unlock(next))
  followUnlockKey(locked, { key: kek.toString('base64'), version: 5 })
  t.doesNotThrow(() => KeyFile.read(path)!.unlock(next), 'not newer')
  followUnlockKey(locked, { key: kek.toString('base64'), version: 6 })
  t.doesNotThrow(() => KeyFile.read(path)!.unlock(kek))
  followUnlockKey(locked, { key: null, version: 7 })
  t.same((await KeyFile.read(path)!.unwrap()).current, keys.current)
})

t.test('a damaged file is refused with its name, a file of others too', async (t) => {
  const path = join(folder(t), 'k')
  const node = testNode(testSwarm())
  const file = KeyFile.create(path, node.key, node.chain)
  await file.unwrap()
  const text = readFileSync(path, 'utf8')
  const end = text.indexOf('-----END PRIVATE KEY')
  for (let size = 0; size < end; size += 5) {
    writeFileSync(path, text.slice(0, size))
    t.throws(() => KeyFile.read(path), { code: 'FAILED_PRECONDITION', message: /cannot be used/ })
  }
  const other = testNode(testSwarm())
  for (const bad of [
    text.slice(0, text.indexOf('-----BEGIN CERT')),
    text.replace(/raft-dek: \S{4}/, 'raft-dek: '),
    text.replace('kek-version: 0', 'kek-version: x'),
    text.slice(0, text.indexOf('-----BEGIN CERT')) + other.chain,
    node.chain,
  ]) {
    writeFileSync(path, bad)
    t.throws(() => KeyFile.read(path), { code: 'FAILED_PRECONDITION', message: /cannot be used/ })
  }
  writeFileSync(path, 'x'.repeat(70_000))
  t.throws(() => KeyFile.read(path), /larger than/)
  rmSync(path)
  writeFileSync(path, text, { mode: 0o640 })
  t.throws(() => KeyFile.read(path), /chmod 600/)
})

t.test('killed at any point, the file is whole', async (t) => {
  const path = join(folder(t), 'k')
  const node = testNode(testSwarm())
  const { current } = await KeyFile.create(path, node.key, node.chain).unwrap()
  const kek = newKek()
  const writer = fileURLToPath(new URL('./testing/key-writer.ts', import.meta.url))
  for (let i = 0; i < 12; i++) {
    const child = spawn(process.execPath, [writer, path, kek.toString('hex')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(child, 'exit')
    await once(child.stdout, 'data')
    for (let turns = i * 3; turns > 0; turns--) await immediate()
    child.kill('SIGKILL')
    await ended
    const file = KeyFile.read(path)!
    if (file.isLocked) file.unlock(kek)
    t.same((await file.unwrap()).current, current, `kill ${i}: the data key is there`)
  }
})

t.test('an identity on disk', async (t) => {
  const paths = identityPaths(folder(t))
  t.equal(readIdentity(paths, NOW_MS), null)
  const swarm = testSwarm()
  const node = testNode(swarm)
  createIdentity(paths, swarm.trust, { privateKey: node.key, chain: node.chain })
  t.equal(statSync(paths.folder).mode & 0o777, 0o700)
  const read = readIdentity(paths, NOW_MS)!
  t.same(read.subject, ALICE)
  t.ok(read.root.digest.equals(swarm.trust.digest))
  // Killed between key and copy: the copy follows.
  rmSync(paths.certificate)
  writeFileSync(`${paths.key}.tmp`, 'half a fi')
  readIdentity(paths, NOW_MS)
  t.equal(readFileSync(paths.certificate, 'utf8'), node.chain)
  const renewed = testNode(swarm, { role: 'worker' })
  const after = replacePair(paths, read, { privateKey: renewed.key, chain: renewed.chain })
  t.equal(after.subject.role, 'worker')
  t.equal(readIdentity(paths, NOW_MS)!.subject.role, 'worker')
  // A clock a year off, either way; another swarm's root; no root.
  t.throws(() => readIdentity(paths, NOW_MS + YEAR_MS), { message: EXPIRED })
  t.throws(() => readIdentity(paths, NOW_MS - YEAR_MS), /not valid before/)
  replaceRoot(paths, after, testSwarm().trust)
  t.throws(() => readIdentity(paths, NOW_MS), /not signed by the root/)
  rmSync(paths.root)
  t.throws(() => readIdentity(paths, NOW_MS), /is missing/)
  removeIdentity(paths)
  t.equal(readIdentity(paths, NOW_MS), null)
})
