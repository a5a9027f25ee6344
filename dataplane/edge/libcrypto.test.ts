// Goal: the TLS-record mode seals and opens exactly as RFC 5288 says. Method: node:crypto is the
// plain twin; both directions, every payload size of a datagram, then what must fail.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import t from 'tap'
import { createAeadFactory } from './libcrypto.ts'
import { allocateSlab } from './slab.ts'

const slab = allocateSlab(1 << 18)
const bytes = Buffer.from(slab.bytes.buffer, slab.bytes.byteOffset, slab.bytes.length)
const aead = createAeadFactory(slab)
const key = randomBytes(32)
const salt = randomBytes(4)
const aad = randomBytes(11)

function twinParts(counter: bigint, length: number): { nonce: Buffer; data: Buffer } {
  const nonce = Buffer.alloc(12)
  salt.copy(nonce)
  nonce.writeBigUInt64BE(counter, 4)
  const data = Buffer.alloc(13)
  aad.copy(data)
  data.writeUInt16BE(length, 11)
  return { nonce, data }
}

/** counter(8) || ciphertext || tag(16), by node:crypto. */
function twinSeal(counter: bigint, payload: Buffer): Buffer {
  const { nonce, data } = twinParts(counter, payload.length)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(data)
  const text = Buffer.concat([cipher.update(payload), cipher.final()])
  return Buffer.concat([nonce.subarray(4), text, cipher.getAuthTag()])
}

function twinOpen(record: Buffer): Buffer {
  const { nonce, data } = twinParts(record.readBigUInt64BE(0), record.length - 24)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(data)
  decipher.setAuthTag(record.subarray(-16))
  return Buffer.concat([decipher.update(record.subarray(8, -16)), decipher.final()])
}

const SIZES = [...Array(1501).keys(), 8999, 9000, 40_000, 65535 - 24]

t.test('seals what node:crypto opens, at every size, and counts up by one', (t) => {
  const sealer = aead.sealer(key, salt, aad, 7)
  for (const [i, size] of SIZES.entries()) {
    const payload = randomBytes(size)
    payload.copy(bytes, 101)
    bytes.fill(0xee, 101 + size, 101 + size + 32)
    if (sealer.seal(93, size) !== 0) return void t.fail(`seal of ${size}`)
    const record = Buffer.from(bytes.subarray(93, 93 + size + 24))
    if (record.readBigUInt64BE(0) !== BigInt(7 + i)) return void t.fail(`counter of ${size}`)
    if (!twinSeal(BigInt(7 + i), payload).equals(record)) return void t.fail(`bytes of ${size}`)
    if (!twinOpen(record).equals(payload)) return void t.fail(`twin open of ${size}`)
    if (bytes[93 + size + 24] !== 0xee) return void t.fail(`wrote past the tag at ${size}`)
  }
  t.pass(`${SIZES.length} sizes`)
  sealer.free()
  t.end()
})

t.test('opens what node:crypto sealed, in any order of counters', (t) => {
  const opener = aead.opener(key, salt, aad)
  for (const [i, size] of SIZES.entries()) {
    const payload = randomBytes(size)
    const counter = i % 2 === 0 ? BigInt(i) : 2n ** 63n - BigInt(i)
    twinSeal(counter, payload).copy(bytes, 11)
    if (opener.open(11, size) !== 0) return void t.fail(`open of ${size}`)
    if (!bytes.subarray(19, 19 + size).equals(payload)) return void t.fail(`bytes of ${size}`)
  }
  t.pass(`${SIZES.length} sizes`)
  opener.free()
  t.end()
})

t.test('refuses every flipped bit of a short record, and goes on afterwards', (t) => {
  const opener = aead.opener(key, salt, aad)
  const payload = randomBytes(40)
  const record = twinSeal(5n, payload)
  let opened = 0
  for (let bit = 0; bit < record.length * 8; bit++) {
    record.copy(bytes, 0)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    if (opener.open(0, 40) === 0) opened++
  }
  t.equal(opened, 0)
  record.copy(bytes, 0)
  t.equal(opener.open(0, 40), 0)
  t.ok(bytes.subarray(8, 48).equals(payload))
  opener.free()
  t.end()
})

t.test('refuses another length, aad, salt or key', (t) => {
  const payload = randomBytes(64)
  const record = twinSeal(1n, payload)
  const flipped = (original: Buffer): Buffer => {
    const copy = Buffer.from(original)
    copy[copy.length - 1]! ^= 1
    return copy
  }
  const cases: [string, ReturnType<typeof aead.opener>, number][] = [
    ['shorter', aead.opener(key, salt, aad), 63],
    ['longer', aead.opener(key, salt, aad), 65],
    ['aad', aead.opener(key, salt, flipped(aad)), 64],
    ['salt', aead.opener(key, flipped(salt), aad), 64],
    ['key', aead.opener(flipped(key), salt, aad), 64],
  ]
  for (const [name, opener, length] of cases) {
    record.copy(bytes, 0)
    t.equal(opener.open(0, length), -1, name)
    opener.free()
  }
  t.end()
})

t.test('the counter passes 2^32 without a seam and starts where it is told, up to 2^53', (t) => {
  for (const first of [2 ** 32 - 2, 2 ** 53 - 1, 0]) {
    const sealer = aead.sealer(key, salt, aad, first)
    for (let i = 0; i < 4; i++) {
      bytes.write('payload', 8)
      t.equal(sealer.seal(0, 7), 0)
      const record = Buffer.from(bytes.subarray(0, 31))
      t.equal(record.readBigUInt64BE(0), BigInt(first) + BigInt(i))
      t.equal(twinOpen(record).toString(), 'payload')
    }
    sealer.free()
  }
  t.end()
})

t.test('bad use is refused, never a crash', (t) => {
  t.throws(() => aead.sealer(key.subarray(1), salt, aad, 0), RangeError)
  t.throws(() => aead.sealer(key, salt.subarray(1), aad, 0), RangeError)
  t.throws(() => aead.opener(key, salt, aad.subarray(1)), RangeError)
  t.throws(() => aead.sealer(key, salt, aad, -1), RangeError)
  t.throws(() => aead.sealer(key, salt, aad, 2 ** 53), RangeError)
  const sealer = aead.sealer(key, salt, aad, 0)
  t.equal(sealer.seal(0, 65535 - 23), -1, 'too long for the length field')
  t.equal(sealer.seal(0, -1), -1)
  sealer.free()
  sealer.free()
  t.equal(sealer.seal(0, 10), -1, 'freed')
  t.end()
})
