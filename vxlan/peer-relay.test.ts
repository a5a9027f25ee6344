// Goal: two nodes that each let in only whom they have sent something find the direct way to each
// other by way of a relay, keep the relay where there is no direct way, and do not fall back to it
// for what was under way. Method: two nodes over a fake network (fake-network.ts); the relay is an
// address that passes on what it gets, and a filter is both NATs.

import t from 'tap'
import { FakeNetwork, type FakeNode } from './fake-network.ts'
import { REKEY_AFTER_MS, REKEY_JITTER_MS, REKEY_TIMEOUT_MS } from './limits.ts'

const RELAY = 9
const KEEPALIVE = 25_000
/** How long a NAT lets in whom it has seen called. */
const NAT_MS = 30_000

interface Scene {
  readonly network: FakeNetwork
  readonly alice: FakeNode
  readonly bob: FakeNode
  readonly toBob: number
  readonly toAlice: number
  /** Datagrams that the relay passed on. */
  relayed: number
  /** False = no datagram arrives directly, whoever was sent something. */
  isOpen: boolean
}

function scene(seed: number): Scene {
  const network = new FakeNetwork(seed)
  const alice = network.node(1)
  const bob = network.node(2)
  const made: Scene = {
    ...{ network, alice, bob },
    toBob: alice.add(bob, KEEPALIVE, -1),
    toAlice: bob.add(alice, KEEPALIVE, -1),
    ...{ relayed: 0, isOpen: true },
  }
  alice.table.setRelay(made.toBob, RELAY)
  bob.table.setRelay(made.toAlice, RELAY)
  const called = new Map<string, number>()
  const isLetIn = (from: number, to: number): boolean =>
    network.nowMs - (called.get(`${to} ${from}`) ?? -NAT_MS) < NAT_MS
  network.filter = (from, to, bytes) => {
    if (to === RELAY) {
      made.relayed++
      network.send(RELAY, from === 1 ? 2 : 1, bytes)
      return false
    }
    if (from === RELAY) return true
    called.set(`${from} ${to}`, network.nowMs)
    return made.isOpen && isLetIn(from, to)
  }
  return made
}

/** The managers tell each where the other is; the second learns it later than a NAT remembers. */
function introduce({ network, alice, bob, toBob, toAlice }: Scene, laterMs: number): void {
  alice.table.tryEndpoint(toBob, bob.address, network.nowMs)
  network.run(laterMs)
  bob.table.tryEndpoint(toAlice, alice.address, network.nowMs)
}

/** Frames both ways; resolves to how many datagrams were relayed for them. */
function talk({ network, alice, bob, toBob, toAlice }: Scene, made: Scene): number {
  const before = made.relayed
  for (let i = 0; i < 10; i++) {
    alice.frame(toBob)
    bob.frame(toAlice)
    network.run(20)
  }
  return made.relayed - before
}

t.test('keep-alives bring the session up at once, by the relay', async (t) => {
  const { network, alice, bob, toBob, toAlice } = scene(1)
  network.run(REKEY_JITTER_MS + 50)
  t.equal(alice.table.endpointOf(toBob), RELAY)
  t.equal(bob.table.endpointOf(toAlice), RELAY)
  t.ok(alice.table.sealerOf(toBob) !== null || bob.table.sealerOf(toAlice) !== null)
})

t.test('both learn where the other is: the direct way opens, and nothing is lost', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const made = scene(seed)
    made.network.faults.jitterMs = 4
    made.network.run(1_000)
    talk(made, made)
    introduce(made, seed % 2 === 0 ? 5 : 2 * NAT_MS)
    // Under way while keys and ways change.
    for (let i = 0; i < 100; i++) {
      made.alice.frame(made.toBob)
      made.bob.frame(made.toAlice)
      made.network.run(100)
    }
    made.network.run(REKEY_TIMEOUT_MS * 3)
    t.equal(talk(made, made), 0, `seed ${seed}: nothing is relayed`)
    t.equal(made.alice.table.endpointOf(made.toBob), 2)
    t.equal(made.bob.table.endpointOf(made.toAlice), 1)
    t.equal(made.bob.received.length, 120, `seed ${seed}: every frame`)
    t.equal(made.alice.received.length, 120, `seed ${seed}: every frame`)
  }
})

t.test('where there is no direct way the relay stays in use, and nothing is lost', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const made = scene(seed)
    made.isOpen = false
    made.network.run(1_000)
    introduce(made, 5)
    for (let i = 0; i < 20; i++) {
      talk(made, made)
      made.network.run(REKEY_AFTER_MS / 10)
    }
    t.equal(made.bob.received.length, 200, `seed ${seed}: every frame`)
    t.equal(made.alice.received.length, 200, `seed ${seed}: every frame`)
  }
})

t.test('a keep-alive that is said again is not put off', async (t) => {
  const made = scene(1)
  const { network, alice, bob, toBob } = made
  network.run(1_000)
  const before = bob.keepalives
  for (let i = 0; i < 12; i++) {
    network.run(KEEPALIVE / 4)
    alice.table.setKeepalive(toBob, KEEPALIVE, network.nowMs)
  }
  t.ok(bob.keepalives - before >= 2, `${bob.keepalives - before} keep-alives`)
})
