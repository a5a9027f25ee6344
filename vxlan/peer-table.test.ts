// Goal: two nodes agree on keys and keep agreeing, whatever the network does, and believe nothing
// forged. Method: whole nodes over a fake network with a virtual clock (fake-network.ts).

import t from 'tap'
import { HANDSHAKE_REFUSED } from './contract.ts'
import { FakeNetwork, type FakeNode, sourceOf } from './fake-network.ts'
import { INITIATION_SIZE, MAC_SIZE, RESPONSE_SIZE } from './handshake.ts'
import {
  INITIATION_GAP_MS,
  KEEPALIVE_MS,
  REJECT_AFTER_MS,
  REJECT_AFTER_PACKETS,
  REKEY_AFTER_MS,
  REKEY_AFTER_PACKETS,
  REKEY_ATTEMPT_MS,
  REKEY_JITTER_MS,
  REKEY_TIMEOUT_MS,
} from './limits.ts'

interface Pair {
  network: FakeNetwork
  alice: FakeNode
  bob: FakeNode
  toBob: number
  toAlice: number
}

function pair(seed = 1, keepaliveMs = 0): Pair {
  const network = new FakeNetwork(seed)
  const alice = network.node(1)
  const bob = network.node(2)
  const toBob = alice.add(bob, keepaliveMs)
  const toAlice = bob.add(alice)
  return { network, alice, bob, toBob, toAlice }
}

/** The same, with the session up and quiet. */
function connected(seed = 1): Pair {
  const all = pair(seed)
  all.alice.frame(all.toBob)
  all.network.run(100)
  return all
}

t.test('the first frame brings the session up and arrives', async (t) => {
  const { network, alice, bob, toBob, toAlice } = pair()
  t.equal(alice.table.sealerOf(toBob), null)
  const frames = [alice.frame(toBob), alice.frame(toBob)]
  t.equal(alice.table.stats.initiationsSent, 1, 'one call for both')
  network.run(10)
  t.same(bob.received, frames)
  const reply = bob.frame(toAlice)
  network.run(10)
  t.same(alice.received, [reply])
  t.equal(bob.table.stats.initiationsSent, 0, 'the responder uses the same session')
  t.equal(alice.table.stats.sessions, 1)
})

t.test('only the newest frames are kept while there is no session', async (t) => {
  const { network, alice, bob, toBob } = pair()
  const frames = Array.from({ length: 20 }, () => alice.frame(toBob))
  network.run(10)
  t.same(bob.received, frames.slice(4))
})

t.test('the responder seals nothing before the initiator has proved the key', async (t) => {
  const { network, alice, bob, toBob, toAlice } = pair()
  alice.frame(toBob)
  network.filter = (from) => from !== 2 // the response is lost
  network.run(10)
  t.equal(bob.table.sealerOf(toAlice), null)
  bob.frame(toAlice)
  t.equal(bob.table.stats.initiationsSent, 0, 'it gives the proof some time')
  network.filter = () => true
  network.run(REKEY_TIMEOUT_MS + REKEY_JITTER_MS + 10)
  t.ok(bob.table.sealerOf(toAlice))
  t.equal(alice.received.length, 1)
  t.equal(bob.received.length, 1)
})

t.test('a session that nobody proves is forgotten in time', async (t) => {
  const { network, alice, bob, toBob, toAlice } = pair()
  network.filter = (from) => from !== 2
  alice.frame(toBob)
  network.run(10)
  alice.table.removePeer(toBob)
  network.run(REJECT_AFTER_MS)
  t.equal(bob.table.stats.expired, 1)
  t.equal(bob.table.nextDeadline(), Number.POSITIVE_INFINITY)
  bob.frame(toAlice)
  t.equal(bob.table.stats.initiationsSent, 1, 'and it calls by itself again')
})

t.test('an initiation is repeated, then given up', async (t) => {
  const { network, alice, toBob } = pair()
  network.filter = () => false
  alice.frame(toBob)
  network.run(REKEY_ATTEMPT_MS + 10)
  const { initiationsSent, failed } = alice.table.stats
  t.equal(failed, 1)
  t.equal(alice.failures, 1, 'the frames that were kept are dropped')
  const most = REKEY_ATTEMPT_MS / REKEY_TIMEOUT_MS
  t.ok(initiationsSent > most - 2 && initiationsSent <= most, `${initiationsSent} initiations`)
  network.run(60_000)
  t.equal(alice.table.stats.initiationsSent, initiationsSent, 'quiet until the next frame')
  t.equal(alice.table.nextDeadline(), Number.POSITIVE_INFINITY)
  alice.frame(toBob)
  t.equal(alice.table.stats.initiationsSent, initiationsSent + 1)
})

t.test('a peer whose place is unknown is not called, but may call', async (t) => {
  const network = new FakeNetwork(1)
  const alice = network.node(1)
  const bob = network.node(2)
  const toBob = alice.add(bob, 0, -1)
  const toAlice = bob.add(alice)
  alice.frame(toBob)
  t.equal(alice.table.stats.initiationsSent, 0)
  t.equal(alice.failures, 1)
  bob.frame(toAlice)
  network.run(10)
  t.equal(alice.table.endpointOf(toBob), 2)
  alice.frame(toBob)
  network.run(10)
  t.equal(bob.received.length, 1)
})

t.test('keys are renewed by their initiator, without losing a frame', async (t) => {
  const { network, alice, bob, toBob, toAlice } = connected()
  const sent: number[] = [...bob.received]
  const answered: number[] = []
  for (let i = 0; i < 100; i++) {
    sent.push(alice.frame(toBob))
    answered.push(bob.frame(toAlice))
    network.run(REKEY_AFTER_MS / 30)
  }
  t.same(bob.received, sent)
  t.same(alice.received, answered)
  t.equal(alice.table.stats.rekeys, 3, 'in 400 s')
  t.equal(bob.table.stats.initiationsSent, 0)
})

t.test('an idle session ends; nothing is sent for it', async (t) => {
  const { network, alice, bob, toBob } = connected()
  const before = network.recorded.length
  network.run(REJECT_AFTER_MS - 200)
  t.ok(alice.table.sealerOf(toBob))
  network.run(300)
  t.equal(alice.table.sealerOf(toBob), null)
  t.equal(alice.table.stats.expired, 1)
  t.equal(bob.table.stats.expired, 1)
  t.equal(network.recorded.length - before, 1, 'one keep-alive for the first frame')
})

t.test('who only receives answers with a keep-alive', async (t) => {
  const { network, alice, bob, toBob } = connected()
  network.run(KEEPALIVE_MS)
  t.equal(alice.keepalives, 1)
  for (let i = 0; i < 6; i++) {
    alice.frame(toBob)
    network.run(KEEPALIVE_MS / 2)
  }
  network.run(KEEPALIVE_MS)
  t.equal(alice.keepalives, 3, 'at most one per ten seconds of frames')
  t.equal(bob.keepalives, 0, 'a keep-alive is not answered')
})

t.test('a peer that lost its keys is called again', async (t) => {
  const { network, alice, toBob } = connected()
  // Bob restarts under the same key, as far as Alice can see: he no longer answers.
  network.filter = (from) => from !== 2
  alice.frame(toBob)
  network.run(KEEPALIVE_MS + REKEY_TIMEOUT_MS + REKEY_JITTER_MS)
  t.equal(alice.table.stats.initiationsSent, 2)
  network.filter = () => true
  network.run(REKEY_TIMEOUT_MS + REKEY_JITTER_MS + 10)
  t.equal(alice.table.stats.sessions, 2)
})

t.test('persistent keep-alives bring the session up and keep it', async (t) => {
  const { network, alice, bob } = pair(1, 25_000)
  network.run(500_000)
  t.ok(bob.keepalives >= 19, `${bob.keepalives} keep-alives`)
  t.ok(alice.table.stats.rekeys >= 3)
})

t.test('a peer that restarted is back after one handshake', async (t) => {
  for (const [seed, key] of [
    [1, 1],
    [2, 200],
  ] as const) {
    const network = new FakeNetwork(seed)
    const keys = { privateKey: new Uint8Array(32).fill(key) }
    const alice = network.node(1)
    const old = network.node(2, keys)
    const toBob = alice.add(old)
    old.add(alice)
    alice.frame(toBob)
    network.run(1000)
    const bob = network.node(2, keys)
    const toAlice = bob.add(alice)
    // Alice still seals under a key that only the old Bob had; the new one calls.
    alice.frame(toBob)
    network.run(10)
    t.equal(bob.dropped.index, 1)
    const frame = bob.frame(toAlice)
    network.run(10)
    t.same(alice.received, [frame])
    const answer = alice.frame(toBob)
    network.run(10)
    t.same(bob.received, [answer])
    t.equal(alice.table.stats.initiationsSent, 1, 'Alice had nothing to do')
  }
})

t.test('keys are used up by packets too, at either end', async (t) => {
  for (const end of ['alice', 'bob'] as const) {
    const all = connected()
    const { network } = all
    const node = all[end]
    const peer = end === 'alice' ? all.toBob : all.toAlice
    node.table.onSealed(peer, REKEY_AFTER_PACKETS - 10, true, network.nowMs)
    network.run(10)
    t.equal(node.table.stats.rekeys, 0)
    node.table.onSealed(peer, 10, true, network.nowMs)
    network.run(10)
    t.equal(node.table.stats.rekeys, 1, end)
    network.run(INITIATION_GAP_MS)
    node.table.onSealed(peer, REJECT_AFTER_PACKETS, true, network.nowMs)
    t.equal(node.table.sealerOf(peer), null, 'not one more under that key')
    node.frame(peer)
    network.run(10)
    t.ok(node.table.sealerOf(peer))
  }
})

t.test('previous, current, next and a call: all slots of a peer at once', async (t) => {
  const { network, alice, bob, toBob, toAlice } = connected()
  const renew = (node: FakeNode, peer: number): void =>
    node.table.onSealed(peer, REKEY_AFTER_PACKETS, true, network.nowMs)
  renew(alice, toBob)
  network.run(100)
  network.filter = (from) => from !== 2
  renew(bob, toAlice)
  renew(alice, toBob)
  network.run(2 * (REKEY_TIMEOUT_MS + REKEY_JITTER_MS))
  t.ok(bob.table.stats.responsesSent >= 2 + 2, 'each new initiation is answered')
  network.filter = () => true
  network.run(2 * (REKEY_TIMEOUT_MS + REKEY_JITTER_MS))
  const frame = alice.frame(toBob)
  const reply = bob.frame(toAlice)
  network.run(10)
  t.equal(bob.received.at(-1), frame)
  t.equal(alice.received.at(-1), reply)
})

t.test('an initiator that only receives keep-alives renews before the key dies', async (t) => {
  const network = new FakeNetwork(1)
  const alice = network.node(1)
  const bob = network.node(2)
  const toBob = alice.add(bob)
  bob.add(alice, KEEPALIVE_MS)
  alice.frame(toBob)
  network.run(600_000)
  t.ok(alice.table.stats.rekeys >= 3, `${alice.table.stats.rekeys} rekeys`)
  t.equal(bob.table.stats.initiationsSent, 0)
  t.ok(alice.keepalives >= 58, `${alice.keepalives} keep-alives: the session was never missing`)
})

t.test('both call at once: one session stays, on which one end renews', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const { network, alice, bob, toBob, toAlice } = pair(seed)
    network.faults.delayMs = 20
    network.faults.jitterMs = 15
    const sent = [alice.frame(toBob), bob.frame(toAlice)]
    network.run(1000)
    t.same([...bob.received, ...alice.received], sent, `seed ${seed}`)
    for (let i = 0; i < 65; i++) {
      alice.frame(toBob)
      bob.frame(toAlice)
      network.run(REKEY_AFTER_MS / 30)
    }
    const calls = alice.table.stats.initiationsSent + bob.table.stats.initiationsSent
    t.equal(calls, 2 + 2, `seed ${seed}: two at first, then one per renewal`)
    t.equal(bob.received.length + alice.received.length, 132, `seed ${seed}: nothing lost`)
  }
})

t.test('sessions survive a network that loses, repeats and reorders', async (t) => {
  for (let seed = 1; seed <= 25; seed++) {
    const { network, alice, bob, toBob, toAlice } = pair(seed)
    Object.assign(network.faults, { loss: 0.3, repeat: 0.2, delayMs: 5, jitterMs: 400 })
    const sent = new Set<number>()
    for (let i = 0; i < 600; i++) {
      sent.add(alice.frame(toBob))
      bob.frame(toAlice)
      network.run(1000)
    }
    t.equal(new Set(bob.received).size, bob.received.length, `seed ${seed}: none twice`)
    t.ok(
      bob.received.every((frame) => sent.has(frame)),
      'none invented',
    )
    // Of 600, 30 % are lost on the way and a few more while a session is late.
    t.ok(bob.received.length > 360, `seed ${seed}: ${bob.received.length} frames arrived`)
    network.faults.loss = 0
    network.run(30_000)
    const last = alice.frame(toBob)
    network.run(10_000)
    t.ok(bob.received.includes(last), `seed ${seed}: healed`)
  }
})

t.test('replays of everything ever sent change nothing', async (t) => {
  const { network, alice, bob, toBob } = connected()
  for (let i = 0; i < 40; i++) {
    alice.frame(toBob)
    network.run(5_000)
  }
  const { sessions } = bob.table.stats
  const frames = bob.received.length
  for (const { from, to, bytes } of [...network.recorded]) {
    network.nodes.get(to)!.receive(bytes, from)
  }
  t.equal(bob.received.length, frames)
  t.equal(bob.table.stats.sessions, sessions)
  t.ok(bob.table.stats.refused.replayed >= 2, 'initiations')
  t.ok(alice.table.stats.refused['no-handshake'] >= 2, 'responses')
  t.equal(alice.dropped.forged + bob.dropped.forged, 0)
  alice.frame(toBob)
  network.run(100)
  t.equal(bob.received.length, frames + 1)
})

t.test('roaming follows the newest authenticated datagram only', async (t) => {
  const { network, alice, bob, toBob, toAlice } = connected()
  alice.frame(toBob)
  const old = network.recorded.at(-1)!
  alice.frame(toBob)
  network.run(10)
  network.nodes.delete(1)
  network.nodes.set(7, alice)
  alice.address = 7
  alice.frame(toBob)
  network.run(10)
  t.equal(bob.table.endpointOf(toAlice), 7)
  t.equal(bob.table.stats.roamed, 1)
  const frame = bob.frame(toAlice)
  network.run(10)
  t.same(alice.received, [frame])
  bob.receive(old.bytes, 9)
  t.equal(bob.table.endpointOf(toAlice), 7, 'a replay from elsewhere')
  const forged = Uint8Array.from(network.recorded.at(-2)!.bytes)
  forged[15]! += 1
  bob.receive(forged, 9)
  t.equal(bob.table.endpointOf(toAlice), 7, 'a forgery from elsewhere')
  t.equal(bob.dropped.forged, 1)
})

t.test('strangers and wrong secrets get no answer', async (t) => {
  const network = new FakeNetwork(1)
  const alice = network.node(1)
  const bob = network.node(2)
  const toBob = alice.add(bob)
  alice.frame(toBob)
  network.run(10)
  t.equal(bob.table.stats.refused['unknown-peer'], 1)
  t.equal(bob.table.stats.responsesSent, 0)

  const carol = network.node(3, { presharedKeys: [new Uint8Array(32).fill(1)] })
  bob.add(carol)
  const fromCarol = carol.add(bob)
  carol.frame(fromCarol)
  network.run(10)
  t.equal(carol.table.stats.refused.noise, 1, 'another preshared key')
  t.equal(carol.table.sealerOf(fromCarol), null)
})

const psk = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)

t.test('preshared keys are rotated under way', async (t) => {
  const { network, alice, bob, toBob, toAlice } = connected()
  const delivered = (): boolean => {
    const [there, back] = [alice.frame(toBob), bob.frame(toAlice)]
    network.run(10)
    return bob.received.at(-1) === there && alice.received.at(-1) === back
  }
  let sessions = alice.table.stats.sessions
  /** Time for a new handshake, with traffic. */
  const renew = (): void => {
    for (let i = 0; i < 13; i++) {
      network.run(10_000)
      t.ok(delivered(), 'nothing is lost')
    }
    t.ok(alice.table.stats.sessions > sessions, 'there was a new handshake')
    sessions = alice.table.stats.sessions
    t.equal(alice.table.stats.refused.noise + bob.table.stats.refused.noise, 0)
  }
  const zero = psk(0)
  alice.table.setPresharedKeys([psk(1), zero])
  t.ok(delivered(), 'the session stays up')
  renew() // Bob has not heard of it.
  bob.table.setPresharedKeys([psk(1), zero])
  renew()
  bob.table.setPresharedKeys([psk(2), psk(1), zero])
  renew() // Now Bob is ahead.
  alice.table.setPresharedKeys([psk(2), psk(1), zero])
  renew()
  t.throws(() => alice.table.setPresharedKeys([]), RangeError)
  t.throws(() => alice.table.setPresharedKeys([new Uint8Array(31)]), RangeError)
})

t.test('who is two rotations behind gets in at the second or third try', async (t) => {
  const network = new FakeNetwork(1)
  const alice = network.node(1, { presharedKeys: [psk(1)] })
  const bob = network.node(2, { presharedKeys: [psk(3), psk(2), psk(1)] })
  const toBob = alice.add(bob)
  bob.add(alice)
  alice.frame(toBob)
  network.run(3 * (REKEY_TIMEOUT_MS + REKEY_JITTER_MS))
  t.ok(alice.table.sealerOf(toBob))
  t.equal(alice.table.stats.refused.noise, 2)
})

t.test('peers are checked when they are added', async (t) => {
  const { alice, bob, toBob } = pair()
  const { table } = alice
  t.throws(() => table.addPeer(bob.table.publicKey, 2, 0, 0), /another peer/)
  t.throws(() => table.addPeer(table.publicKey, 2, 0, 0), /our own/)
  t.throws(() => table.addPeer(new Uint8Array(32), 2, 0, 0), /low order/)
  t.throws(() => table.addPeer(new Uint8Array(31), 2, 0, 0), /32 bytes/)
  t.equal(table.peerByKey(bob.table.publicKey), toBob)
  const network = new FakeNetwork(5)
  const others = Array.from({ length: 8 }, (_, i) => network.node(10 + i))
  const numbers = others.map((other) => alice.add(other))
  t.same(numbers, [1, 2, 3, 4, 5, 6, 7, -1], 'the table is full')
})

t.test('a peer that is removed takes its keys along', async (t) => {
  const { network, alice, bob, toBob, toAlice } = connected()
  const sealer = alice.table.sealerOf(toBob)!
  alice.table.removePeer(toBob)
  t.equal(alice.table.sealerOf(toBob), null)
  t.equal(sealer.seal(0, 4), -1, 'the key is wiped')
  t.equal(alice.table.peerByKey(bob.table.publicKey), -1)
  bob.frame(toAlice)
  network.run(10)
  t.equal(alice.dropped.index, 1)
  t.equal(alice.add(bob), toBob, 'the number is free again')
  alice.frame(toBob)
  network.run(100)
  t.equal(bob.table.stats.sessions, 2)
})

t.test('no bit of a handshake message can be changed', async (t) => {
  const { network, alice, bob, toBob } = pair()
  alice.frame(toBob)
  const initiation = network.recorded[0]!.bytes
  t.equal(initiation.length, INITIATION_SIZE)
  // mac2 counts only under load.
  for (let bit = 0; bit < (INITIATION_SIZE - MAC_SIZE) * 8; bit++) {
    const bad = Uint8Array.from(initiation)
    bad[bit >> 3]! ^= 1 << (bit & 7)
    const verdict = bob.table.receiveHandshake(bad, sourceOf(1), 1, 0)
    if (verdict !== HANDSHAKE_REFUSED) t.fail(`bit ${bit} of the initiation`)
  }
  for (let size = 0; size < INITIATION_SIZE; size++) {
    const verdict = bob.table.receiveHandshake(initiation.subarray(0, size), sourceOf(1), 1, 0)
    if (verdict !== HANDSHAKE_REFUSED) t.fail(`${size} bytes of the initiation`)
  }
  t.equal(bob.table.stats.responsesSent, 0)
  let response = new Uint8Array(0)
  network.filter = (from, _to, bytes) => {
    if (from === 2) response = Uint8Array.from(bytes)
    return from !== 2
  }
  network.run(10)
  t.equal(response.length, RESPONSE_SIZE)
  for (let bit = 0; bit < (RESPONSE_SIZE - MAC_SIZE) * 8; bit++) {
    const bad = Uint8Array.from(response)
    bad[bit >> 3]! ^= 1 << (bit & 7)
    const verdict = alice.table.receiveHandshake(bad, sourceOf(2), 2, 10)
    if (verdict !== HANDSHAKE_REFUSED) t.fail(`bit ${bit} of the response`)
  }
  t.equal(alice.table.sealerOf(toBob), null)
  alice.receive(response, 2)
  t.ok(alice.table.sealerOf(toBob), 'the untouched one is still welcome')
})
