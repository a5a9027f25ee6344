// What somebody on the underlay may try against two agents, and what must come of it: nothing but a
// count under the right reason. Whatever is injected, the next honest packet passes.
//
// Datagrams for the injections are real ones: the relay lets h1's datagrams vanish for a moment and
// keeps them, so that h2 has never seen them when a harmed copy arrives.

import './enter.ts'
import { prng } from '../../base/prng.ts'
import { sumOf } from '../../cli/lab/metrics.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { hexOf, udpPacket } from './hex-packets.ts'
import { labTest } from './lab-test.ts'
import { balance, dropsBetween } from './overlay-scene.ts'
import { PORT, type RelayedPair, relayedPair, UNDERLAY_PORT } from './relayed-pair.ts'

const TRANSPORT = '04000000'
const INITIATION = '01000000'
/** Envelope: type and flags 4, receiver index 4, counter 8; tag 16. */
const HEADER_BYTES = 16
const OVERHEAD_BYTES = 32

/** A sealed datagram of h1 that has not reached h2. */
async function intercept(pair: RelayedPair): Promise<string> {
  await pair.relay.ask.faults({ loss: 1 })
  const known = new Set(await pair.relay.ask.heard('a'))
  await pair.a.ask.ping(pair.addressB[4], { size: 40, timeoutMs: 1 })
  const look = async (): Promise<string | undefined> => {
    const heard = await pair.relay.ask.heard('a')
    return heard.find((text) => text.startsWith(TRANSPORT) && !known.has(text) && text.length > 200)
  }
  const caught = await waitFor(look, { what: 'a datagram of h1 at the relay' })
  await pair.relay.ask.faults({})
  return caught
}

/** Injects datagrams towards h2 and returns how its drop counters moved, once all have been
 * counted. */
async function attack(
  pair: RelayedPair,
  datagrams: readonly string[],
  via: 'relay' | 'stranger' = 'relay',
): Promise<Record<string, number>> {
  const before = await pair.h2.metrics()
  if (via === 'relay') await pair.relay.ask.inject('b', datagrams)
  else await pair.stranger.ask.datagrams(pair.h2.host.address, UNDERLAY_PORT, datagrams)
  const drops = (moved: Record<string, number>): number =>
    Object.values(moved).reduce((sum, count) => sum + count, 0)
  let moved: Record<string, number> = {}
  const look = async (): Promise<boolean> => {
    moved = dropsBetween(before, await pair.h2.metrics())
    // A container's own announcements to all its neighbours are no part of the attack.
    delete moved.multicast_off
    return drops(moved) >= datagrams.length
  }
  await waitFor(look, { what: `${datagrams.length} drops` }).catch(() => {})
  return moved
}

function flipBit(text: string, bit: number): string {
  const bytes = Buffer.from(text, 'hex')
  bytes[bit >> 3]! ^= 0x80 >> (bit & 7)
  return bytes.toString('hex')
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}

labTest('a hostile underlay', async (t, lab) => {
  const pair = await relayedPair(lab)
  const { a, b, relay, h2 } = pair
  const alive = async (): Promise<boolean> => {
    const out = await a.ask.ping(pair.addressB[4], { size: 100 })
    return out.answer !== undefined
  }
  // Both interfaces settle first: a container's own neighbour and router discovery is counted as
  // well, so the drops of a quiet h2 must stand still before they are compared.
  await b.ask.record('eth0')
  for (const box of [a, b]) {
    for (const device of ['eth0', 'eth1']) {
      await box.host.sysctl(`net.ipv6.conf.${device}.router_solicitations`, '0')
    }
  }
  t.ok(await alive(), 'a reaches b')

  await t.test('a datagram comes again', async (t) => {
    const heard = (await relay.ask.heard('a')).filter((text) => text.startsWith(TRANSPORT))
    t.ok(heard.length > 0)
    t.same(await attack(pair, heard), { replayed: heard.length })
    t.ok(await alive())
  })

  await t.test('one bit is wrong, whichever it is', async (t) => {
    const honest = await intercept(pair)
    const bits = 4 * honest.length
    const flips = (from: number, to: number): string[] =>
      range(8 * from, 8 * to).map((bit) => flipBit(honest, bit))
    // With the I bit of RFC 7348 in it, it reads as VXLAN of a network that there is not.
    t.same(await attack(pair, flips(0, 4)), { not_ours: 31, unknown_vni: 1 }, 'type and flags')
    t.same(await attack(pair, flips(4, 8)), { unknown_receiver: 32 }, 'receiver index')
    const counter = await attack(pair, flips(8, HEADER_BYTES))
    t.equal(
      (counter.bad_tag ?? 0) + (counter.replayed ?? 0),
      64,
      `counter: ${JSON.stringify(counter)}`,
    )
    t.equal(Object.keys(counter).filter((key) => !['bad_tag', 'replayed'].includes(key)).length, 0)
    const sealed = flips(HEADER_BYTES, bits / 8)
    t.same(await attack(pair, sealed), { bad_tag: sealed.length }, 'what is sealed, and the tag')
    await b.ask.recorded('eth0')
    await relay.ask.inject('b', [honest])
    const look = async (): Promise<boolean> => {
      const seen = await b.ask.recorded('eth0')
      return seen.some((frame) =>
        frame.includes(`${hexOf(pair.addressA[4])}${hexOf(pair.addressB[4])}`),
      )
    }
    await waitFor(look, { what: 'the honest datagram at b' })
    t.pass('the datagram itself is still taken: forgeries have not moved the window')
    t.same(await attack(pair, [honest]), { replayed: 1 }, 'once')
    t.ok(await alive())
  })

  await t.test('cut off at every length, or with something behind it', async (t) => {
    const honest = await intercept(pair)
    const size = honest.length / 2
    const cut = (from: number, to: number): string[] =>
      range(from, to).map((length) => honest.slice(0, 2 * length))
    t.same(await attack(pair, cut(1, 4)), { not_ours: 3 }, 'no whole type and flags')
    const short = await attack(pair, cut(4, OVERHEAD_BYTES))
    t.same(short, { truncated: OVERHEAD_BYTES - 4 }, 'no room for header and tag')
    t.same(await attack(pair, cut(OVERHEAD_BYTES, size)), { bad_tag: size - OVERHEAD_BYTES })
    const longer = range(1, 20).map((more) => honest + '00'.repeat(more))
    t.same(await attack(pair, longer), { bad_tag: longer.length })
    t.ok(await alive())
  })

  await t.test('frames in the clear for an encrypted network', async (t) => {
    const [addressA, addressB] = [pair.addressA[4], pair.addressB[4]]
    const macs = `${'02420a070003'}${'02420a070002'}`
    const frame = `${macs}0800${udpPacket(addressA, addressB, 'in the clear')}`
    const encrypted = `0800000000010000${frame}`
    t.same(await attack(pair, [encrypted, encrypted]), { plaintext: 2 })
    t.same(await attack(pair, [encrypted], 'stranger'), { plaintext: 1 }, 'also from a stranger')
    const nowhere = `0800000000999900${frame}`
    t.same(await attack(pair, [nowhere]), { unknown_vni: 1 })
    const clear = `0800000000010200${frame}`
    t.same(await attack(pair, [clear], 'stranger'), { unknown_peer: 1 }, 'plain, but of no peer')
    const cut = range(1, 8).map((length) => encrypted.slice(0, 2 * length))
    t.same(await attack(pair, cut), { truncated: 7 }, 'no whole VXLAN header')
    // A plain network takes a peer's word, but not for containers that are not the peer's, nor
    // nonsense.
    const nobody = `0800000000010200${'02420a090009'.repeat(2)}0800${'45'.repeat(30)}`
    const moved = await attack(pair, [nobody, clear, '0800000000010200', '080000000001020045'])
    t.equal(
      Object.values(moved).reduce((sum, n) => sum + n, 0),
      4,
      JSON.stringify(moved),
    )
    t.ok(await alive())
  })

  await t.test('handshakes from before, from nobody, and harmed', async (t) => {
    const [initiation] = (await relay.ask.heard('a')).filter((text) => text.startsWith(INITIATION))
    const [answer] = (await relay.ask.heard('b')).filter((text) => text.startsWith(INITIATION))
    const old = initiation ?? answer
    if (old === undefined) return t.fail('the relay heard an initiation')
    t.same(await attack(pair, [old]), { handshake_refused: 1 }, 'replayed')
    const harmed = [4, 8, 60, 120, old.length / 2 - 1].map((byte) => flipBit(old, 8 * byte))
    t.same(await attack(pair, harmed), { handshake_refused: harmed.length }, 'harmed')
    const cut = range(4, old.length / 2).map((length) => old.slice(0, 2 * length))
    t.same(await attack(pair, cut), { handshake_refused: cut.length }, 'cut off at every length')
    const made = range(1, 4).map((type) => `0${type}000000${'5a'.repeat(140)}`)
    t.same(await attack(pair, made, 'stranger'), { handshake_refused: 3 }, 'made up')
    t.ok(await alive())
  })

  await t.test('garbage of every size', async (t) => {
    const random = prng(7)
    const garbage = range(1, 1200).map((size) => {
      const bytes = Buffer.alloc(size)
      for (let i = 0; i < size; i++) bytes[i] = random.below(256)
      // A third of it begins as something of ours would.
      if (size % 3 === 0) bytes[0] = random.below(9)
      if (size % 9 === 0) bytes.fill(0, 1, 4)
      return bytes.toString('hex')
    })
    const before = await h2.metrics()
    const moved = await attack(pair, garbage, 'stranger')
    const total = Object.values(moved).reduce((sum, count) => sum + count, 0)
    const came = (samples: typeof before): number => sumOf(samples, 'weft_datagrams_received_total')
    const arrived = came(await h2.metrics()) - came(before)
    t.equal(total, arrived, `all ${arrived} were dropped: ${JSON.stringify(moved)}`)
    t.ok(arrived > garbage.length / 2, 'and the socket’s buffer took most of them')
    t.ok(await alive())
  })

  await t.test('and then', async (t) => {
    const order = { up: 1 << 20, down: 1 << 20, seed: 9 }
    const result = await a.ask.bulk(pair.addressB[6], PORT, order, 20_000)
    t.equal(result.whole, true, 'bulk TCP passes')
    t.equal(await balance(pair.h1), 0, 'h1 has accounted for every packet')
    t.equal(await balance(h2), 0, 'h2 has accounted for every packet')
    t.equal(h2.process?.running, true)
  })
})
