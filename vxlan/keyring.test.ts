// Goal: the right keypair is used for sealing at each moment, and every one that leaves is wiped.

import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import { PlainAeadFactory } from './aead.ts'
import { isSmallerKey, type Keypair, Keyring, makeKeypair, transportAad } from './keyring.ts'
import { REJECT_AFTER_MS } from './limits.ts'

const FACTORY = new PlainAeadFactory(memorySlab(64))

function keypair(initiator: boolean, createdMs = 0, crossed = false): Keypair {
  const result = { fromInitiator: new Uint8Array(32), fromResponder: new Uint8Array(32) }
  const indexes = { slot: 0, localIndex: 1, remoteIndex: 2 }
  return makeKeypair({ ...indexes, initiator, crossed, createdMs }, result, FACTORY)
}

function ring(preferOurs = false): { ring: Keyring; dropped: Keypair[] } {
  const dropped: Keypair[] = []
  return { ring: new Keyring(preferOurs, (gone) => dropped.push(gone)), dropped }
}

t.test('the two ends make matching keys and wipe what they came from', async (t) => {
  const slab = memorySlab(64)
  const factory = new PlainAeadFactory(slab)
  const secrets = () => ({
    fromInitiator: new Uint8Array(32).fill(1),
    fromResponder: new Uint8Array(32).fill(2),
  })
  const result = secrets()
  const common = { slot: 0, crossed: false, createdMs: 0 }
  const ours = { ...common, localIndex: 7, remoteIndex: 8, initiator: true }
  const theirs = { ...common, localIndex: 8, remoteIndex: 7, initiator: false }
  const alice = makeKeypair(ours, result, factory)
  const bob = makeKeypair(theirs, secrets(), factory)
  t.same(result.fromInitiator, new Uint8Array(32))
  t.same(result.fromResponder, new Uint8Array(32))
  for (const [from, to] of [
    [alice, bob],
    [bob, alice],
  ] as const) {
    slab.bytes.fill(9, 8, 28)
    t.equal(from.sealer.seal(0, 20), 0)
    t.equal(from.opener.open(0, 20), -1, 'not to be opened by its sender: no reflection')
    slab.bytes.fill(9, 8, 28)
    from.sealer.seal(0, 20)
    t.equal(to.opener.open(0, 20), 0)
  }
  t.equal(Buffer.from(transportAad(0x01020304)).toString('hex'), '0400000001020304000000')
})

t.test('initiator: a response makes the new key current at once', async (t) => {
  const { ring: r, dropped } = ring()
  const [a, b, c] = [keypair(true), keypair(true), keypair(true)]
  r.adopt(a)
  r.adopt(b)
  t.equal(r.current, b)
  t.equal(r.previous, a)
  r.adopt(c)
  t.same(dropped, [a])
})

t.test('responder: the next key waits for its proof', async (t) => {
  const { ring: r, dropped } = ring()
  const [a, b, c] = [keypair(false), keypair(false), keypair(false)]
  r.offer(a)
  t.equal(r.current, null)
  t.ok(r.promote())
  t.equal(r.current, a)
  r.offer(b)
  r.offer(c)
  t.same(dropped, [b], 'never proven')
  t.equal(r.current, a)
  r.promote()
  t.equal(r.current, c)
  t.equal(r.previous, a)
  t.notOk(r.promote(), 'nothing to promote')
})

t.test('both ends called: the session of the smaller key stays', async (t) => {
  for (const preferOurs of [true, false]) {
    const { ring: r } = ring(preferOurs)
    const theirs = keypair(false, 10, true)
    const ours = keypair(true, 12)
    r.offer(theirs)
    r.adopt(ours)
    r.promote()
    t.equal(r.current, preferOurs ? ours : theirs)
    t.equal(r.previous, preferOurs ? theirs : ours, 'what is on the way can still be opened')
  }
})

t.test('a peer that restarted is believed, whoever has the smaller key', async (t) => {
  const { ring: r } = ring(true)
  const ours = keypair(true, 10)
  const theirs = keypair(false, 12, true)
  r.adopt(ours)
  r.offer(theirs)
  r.promote()
  t.equal(r.current, theirs, 'made after ours: they may have forgotten ours')
})

t.test('age', async (t) => {
  const { ring: r, dropped } = ring()
  const [a, b, c] = [keypair(true, 0.1), keypair(true, 100), keypair(false, 200)]
  r.adopt(a)
  r.adopt(b)
  r.offer(c)
  t.equal(r.expiryMs(), 0.1 + REJECT_AFTER_MS)
  t.equal(r.expire(REJECT_AFTER_MS), 0)
  t.equal(r.expire(r.expiryMs()), 1, 'exactly when it said')
  t.same(dropped, [a])
  t.equal(r.expire(1e9), 2)
  t.equal(r.expiryMs(), Number.POSITIVE_INFINITY)
  r.adopt(a)
  r.dropAll()
  t.equal(r.current, null)
})

t.test('keys have an order', async (t) => {
  t.ok(isSmallerKey(Uint8Array.of(1, 255), Uint8Array.of(2, 0)))
  t.notOk(isSmallerKey(Uint8Array.of(2, 0), Uint8Array.of(1, 255)))
  t.notOk(isSmallerKey(Uint8Array.of(2), Uint8Array.of(2)))
})
