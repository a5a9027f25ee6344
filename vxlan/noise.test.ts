// Goal: our Noise machine speaks the protocol that others speak, and believes nothing that was
// tampered with. Method: the published vector byte by byte, then handshakes between two of ours
// under damage.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { keyPairOf, publicKeyOf, sharedSecret } from './curve.ts'
import {
  decryptAesGcm,
  encryptAesGcm,
  INITIATION_OVERHEAD,
  Initiator,
  noiseNonce,
  Responder,
} from './noise.ts'

const vector = JSON.parse(
  readFileSync(new URL('testdata/noise-ikpsk2-aesgcm-sha256.json', import.meta.url), 'utf8'),
)
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const ALICE = keyPairOf(hex(vector.init_static))
const BOB = keyPairOf(hex(vector.resp_static))
const PSK = hex(vector.init_psks[0])
const NONE = new Uint8Array(32)

interface Options {
  psk?: Uint8Array
  prologue?: Uint8Array
  bobKey?: Uint8Array
  aliceEphemeral?: Uint8Array
}

function initiator(options: Options = {}): Initiator {
  const remoteStatic = options.bobKey ?? BOB.publicKey
  return new Initiator({
    prologue: options.prologue ?? hex(vector.init_prologue),
    local: ALICE,
    remoteStatic,
    remoteKey: publicKeyOf(remoteStatic),
    staticStatic: sharedSecret(ALICE, publicKeyOf(remoteStatic)) ?? NONE,
    presharedKeys: [NONE, options.psk ?? PSK],
    ephemeral: keyPairOf(options.aliceEphemeral ?? hex(vector.init_ephemeral)),
  })
}

function responder(options: { known?: boolean } = {}): Responder {
  return new Responder({
    prologue: hex(vector.resp_prologue),
    local: BOB,
    staticStatic: (key) => ((options.known ?? true) ? sharedSecret(BOB, publicKeyOf(key)) : null),
  })
}

const EPHEMERAL = keyPairOf(hex(vector.resp_ephemeral))

t.test('the published vector', async (t) => {
  const [first, second, ...transport] = vector.messages
  const alice = initiator()
  const bob = responder()
  const one = alice.writeInitiation(hex(first.payload))!
  t.equal(text(one), first.ciphertext)
  t.equal(text(bob.readInitiation(one)!), first.payload)
  t.strictSame(bob.remoteStatic && text(bob.remoteStatic), text(ALICE.publicKey))
  const two = bob.writeResponse(EPHEMERAL, hex(second.payload), PSK)!
  t.equal(text(two.message), second.ciphertext)
  const done = alice.readResponse(two.message)!
  t.equal(text(done.payload), second.payload)
  t.same(done.result, two.result, 'both ends hold the same keys')
  // Transport messages alternate, the initiator first.
  for (const [i, message] of transport.entries()) {
    const key = i % 2 === 0 ? done.result.fromInitiator : done.result.fromResponder
    const sealed = encryptAesGcm(key, noiseNonce(i >> 1), new Uint8Array(0), hex(message.payload))
    t.equal(text(sealed), message.ciphertext)
  }
})

t.test('the nonce counts big-endian beyond 32 bits', async (t) => {
  t.equal(text(noiseNonce(2 ** 32 + 5)), '000000000000000100000005')
})

t.test('any flipped bit or missing byte of message 1 is refused', async (t) => {
  const good = initiator().writeInitiation(new Uint8Array(12))!
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bad = Uint8Array.from(good)
    bad[bit >> 3]! ^= 1 << (bit & 7)
    if (responder().readInitiation(bad) !== null) t.fail(`bit ${bit} was not noticed`)
  }
  for (let size = 0; size < good.length; size++) {
    if (responder().readInitiation(good.subarray(0, size)) !== null) t.fail(`size ${size}`)
  }
  t.equal(good.length, INITIATION_OVERHEAD + 12)
  t.ok(responder().readInitiation(good), 'the untouched message is accepted')
})

t.test(
  'any flipped bit or missing byte of message 2 is refused, then the right one taken',
  async (t) => {
    const alice = initiator()
    const bob = responder()
    bob.readInitiation(alice.writeInitiation(new Uint8Array(12))!)
    const { message } = bob.writeResponse(EPHEMERAL, new Uint8Array(0), PSK)!
    for (let bit = 0; bit < message.length * 8; bit++) {
      const bad = Uint8Array.from(message)
      bad[bit >> 3]! ^= 1 << (bit & 7)
      if (alice.readResponse(bad) !== null) t.fail(`bit ${bit} was not noticed`)
    }
    for (let size = 0; size < message.length; size++) {
      if (alice.readResponse(message.subarray(0, size)) !== null) t.fail(`size ${size}`)
    }
    t.ok(alice.readResponse(message), 'forgeries did not disturb the initiator')
  },
)

t.test('wrong secrets', async (t) => {
  const eve = keyPairOf(new Uint8Array(32).fill(7))
  const toEve = initiator({ bobKey: eve.publicKey }).writeInitiation(new Uint8Array(12))!
  t.equal(responder().readInitiation(toEve), null, 'sealed to another static key')

  const otherVersion = initiator({ prologue: Buffer.from('weft v0') })
  t.equal(responder().readInitiation(otherVersion.writeInitiation(NONE)!), null, 'prologue')

  const bob = responder({ known: false })
  t.equal(bob.readInitiation(initiator().writeInitiation(NONE)!), null)
  t.same(bob.remoteStatic, ALICE.publicKey, 'an unknown initiator can be told from garbage')

  // The psk enters in message 2, so that is where a wrong one shows.
  const alice = initiator({ psk: NONE })
  const right = responder()
  t.ok(right.readInitiation(alice.writeInitiation(NONE)!))
  t.equal(alice.readResponse(right.writeResponse(EPHEMERAL, NONE, PSK)!.message), null, 'psk')
})

t.test('points of low order are refused wherever they come from', async (t) => {
  // The points of order 1, 2, 4 and 8 (RFC 7748 section 7 warns; values from Bernstein's list).
  const points = [
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  ]
  for (const point of points) {
    t.equal(sharedSecret(ALICE, publicKeyOf(hex(point))), null, point)
    t.equal(initiator({ bobKey: hex(point) }).writeInitiation(NONE), null)
    const message = Buffer.concat([hex(point), Buffer.alloc(INITIATION_OVERHEAD - 32 + 12)])
    t.equal(responder().readInitiation(message), null)
    const alice = initiator()
    alice.writeInitiation(NONE)
    t.equal(alice.readResponse(Buffer.concat([hex(point), Buffer.alloc(16)])), null)
  }
})

t.test('keys have 32 bytes', async (t) => {
  t.throws(() => keyPairOf(new Uint8Array(31)), RangeError)
  t.throws(() => publicKeyOf(new Uint8Array(33)), RangeError)
  const key = new Uint8Array(32).fill(1)
  const sealed = encryptAesGcm(key, noiseNonce(0), NONE, NONE)
  t.same(decryptAesGcm(key, noiseNonce(0), NONE, sealed), NONE)
  t.equal(decryptAesGcm(key, noiseNonce(1), NONE, sealed), null)
  t.equal(decryptAesGcm(key, noiseNonce(0), NONE, sealed.subarray(0, 15)), null)
})
