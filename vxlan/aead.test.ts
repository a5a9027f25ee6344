// Goal: the plain keys keep the layout that the fast keys have. Method: the same bytes computed by
// hand with node:crypto, then damage of every bit.

import { createCipheriv } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import { PlainAeadFactory } from './aead.ts'

const KEY = new Uint8Array(32).map((_, i) => i)
const SALT = Uint8Array.of(0xa0, 0xa1, 0xa2, 0xa3)
const AAD = Uint8Array.of(4, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0)

t.test('layout, nonce and associated data', async (t) => {
  const slab = memorySlab(256)
  const text = Buffer.from('forty-two')
  slab.bytes.set(text, 40)
  const sealer = new PlainAeadFactory(slab).sealer(KEY, SALT, AAD, 2 ** 32 + 7)
  t.equal(sealer.seal(32, text.length), 0)
  const counter = Buffer.from('0000000100000007', 'hex')
  t.same(slab.bytes.subarray(32, 40), new Uint8Array(counter))
  const cipher = createCipheriv('aes-256-gcm', KEY, Buffer.concat([SALT, counter]))
  cipher.setAAD(Buffer.concat([AAD, Buffer.from([0, text.length])]))
  const expected = Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()])
  t.same(slab.bytes.subarray(40, 40 + expected.length), new Uint8Array(expected))
  sealer.seal(32, 0)
  t.equal(slab.view.getUint32(36), 8, 'the counter rises')
})

t.test('opens what was sealed, of any length', async () => {
  const slab = memorySlab(70_000)
  const factory = new PlainAeadFactory(slab)
  const sealer = factory.sealer(KEY, SALT, AAD, 0)
  const opener = factory.opener(KEY, SALT, AAD)
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 60_000 }),
      fc.integer({ min: 0, max: 255 }),
      (length, fill) => {
        slab.bytes.fill(fill, 8, 8 + length)
        if (sealer.seal(0, length) !== 0 || opener.open(0, length) !== 0) return false
        return slab.bytes.subarray(8, 8 + length).every((byte) => byte === fill)
      },
    ),
    { numRuns: 30 },
  )
})

t.test('refuses any flipped bit, another length and a freed key', async (t) => {
  const slab = memorySlab(64)
  const factory = new PlainAeadFactory(slab)
  const opener = factory.opener(KEY, SALT, AAD)
  factory.sealer(KEY, SALT, AAD, 1).seal(0, 20)
  const sealed = Uint8Array.from(slab.bytes.subarray(0, 44))
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    slab.bytes.set(sealed)
    slab.bytes[bit >> 3]! ^= 1 << (bit & 7)
    if (opener.open(0, 20) !== -1) t.fail(`bit ${bit} was not noticed`)
  }
  slab.bytes.set(sealed)
  t.equal(opener.open(0, 19), -1)
  slab.bytes.set(sealed)
  t.equal(opener.open(0, 20), 0)
  t.equal(opener.open(0, -1), -1)
  opener.free()
  slab.bytes.set(sealed)
  t.equal(opener.open(0, 20), -1)
  t.equal(opener.seal(0, 20), -1)
})

t.test('sizes of key material are checked', async (t) => {
  const factory = new PlainAeadFactory(memorySlab(64))
  t.throws(() => factory.opener(KEY.subarray(1), SALT, AAD), RangeError)
  t.throws(() => factory.opener(KEY, KEY, AAD), RangeError)
  t.throws(() => factory.sealer(KEY, SALT, KEY, 0), RangeError)
})
