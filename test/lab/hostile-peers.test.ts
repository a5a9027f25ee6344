// Peers that are not, or not where they were: the wrong key, the wrong preshared key, keys that
// grow old under load, an address that changes under load, a peer that has no address until it
// calls.

import './enter.ts'
import { sumOf } from '../../cli/lab/metrics.ts'
import { newKeyPair } from '../../cli/lab/topology.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import { labTest } from './lab-test.ts'
import { dropsReach, placed } from './overlay-scene.ts'
import { DOOR_A, DOOR_B, PORT, type RelayedPair, relayedPair } from './relayed-pair.ts'

const SILENT = { size: 40, timeoutMs: 200 }

async function alive(pair: RelayedPair): Promise<void> {
  const look = async (): Promise<boolean> => {
    const out = await pair.a.ask.ping(pair.addressB[4], { size: 40, timeoutMs: 1000 })
    return out.answer !== undefined
  }
  await waitFor(look, { what: 'an answer from b', timeoutMs: 15_000 })
}

/** Sends small requests until `ended`; returns how many were answered and the longest pause
 * between two. */
async function keepAsking(
  pair: RelayedPair,
  ended: () => boolean,
): Promise<{ answers: number; longestGapMs: number }> {
  let answers = 0
  let longestGapMs = 0
  let lastMs = performance.now()
  while (!ended()) {
    const out = await pair.a.ask.ask(pair.addressB[6], PORT, { size: 900, timeoutMs: 100 })
    if (out.answer === undefined) continue
    answers++
    longestGapMs = Math.max(longestGapMs, performance.now() - lastMs)
    lastMs = performance.now()
  }
  return { answers, longestGapMs }
}

labTest('a peer with the wrong key or preshared key is refused', async (t, lab) => {
  const stranger = newKeyPair()
  const change = (tables: ForwardingTables, node: string): ForwardingTables =>
    node === 'h1'
      ? { ...tables, node: { ...tables.node, privateKey: stranger.privateKey } }
      : tables
  const pair = await relayedPair(lab, { change })
  const refused = async (what: string): Promise<void> => {
    const out = await pair.a.ask.ping(pair.addressB[4], SILENT)
    t.same(out, { error: 'silence' }, `${what}: h1 does not get through`)
    const back = await pair.b.ask.ping(pair.addressA[4], SILENT)
    t.same(back, { error: 'silence' }, `${what}: nor does h2`)
    const completed = sumOf(await pair.h2.metrics(), 'weft_handshakes_total', {
      result: 'completed',
    })
    t.equal(completed, 0, `${what}: no session`)
  }
  await refused('a key that h2 does not know')
  await dropsReach(pair.h2, 'handshake_refused', 0, 1)

  // The right key, but another preshared key: the last message of the handshake does not open.
  await pair.h1.stop()
  const right = pair.plan.tables('h1')
  const node = { ...right.node, presharedKey: Buffer.alloc(32, 7).toString('base64') }
  const tables = placed({ ...right, node }, 'h2', `${pair.relay.host.address}:${DOOR_A}`)
  await pair.h1.start({ ...tables, version: tables.version + 1 })
  await refused('another preshared key')
  await dropsReach(pair.h1, 'handshake_refused', 0, 1)

  // And with both right it works: the refusals were about nothing else.
  await pair.h1.stop()
  await pair.h1.start({
    ...placed(right, 'h2', `${pair.relay.host.address}:${DOOR_A}`),
    version: right.version + 2,
  })
  await alive(pair)
  t.equal(pair.h2.process?.running, true)
})

labTest('keys are renewed under load, and nothing is lost by it', async (t, lab) => {
  const rate = 40
  const preload = new URL('./fast-clock.ts', import.meta.url).href
  const pair = await relayedPair(lab, {
    env: { NODE_OPTIONS: `--import=${preload}`, FAST_CLOCK_RATE: `${rate}` },
  })
  await alive(pair)
  const rekeys = async (): Promise<number> => {
    const all = await Promise.all([pair.h1.metrics(), pair.h2.metrics()])
    return Math.min(...all.map((samples) => sumOf(samples, 'weft_rekeys_total')))
  }
  // At 40 times the pace a key is renewed every 3 s and dead after 4.5 s.
  let done = false
  const asking = keepAsking(pair, () => done)
  let transfers = 0
  const bulk = async (): Promise<void> => {
    while (!done) {
      const order = { up: 1 << 20, down: 1 << 20, seed: transfers }
      const result = await pair.a.ask.bulk(pair.addressB[4], PORT, order, 10_000)
      if (!result.whole) throw new Error('a stream was damaged')
      transfers++
    }
  }
  const loading = bulk()
  await waitFor(async () => (await rekeys()) >= 3, { what: 'three rekeys', timeoutMs: 30_000 })
  done = true
  const { answers, longestGapMs } = await asking
  await loading
  t.ok(transfers >= 3, `${transfers} bulk transfers, each whole`)
  t.ok(answers > 20, `${answers} answers`)
  t.ok(longestGapMs < 1500, `the longest silence was ${Math.round(longestGapMs)} ms`)
  for (const agent of [pair.h1, pair.h2]) {
    const samples = await agent.metrics()
    for (const reason of ['no_session', 'unknown_receiver', 'bad_tag', 'staging_full']) {
      t.equal(sumOf(samples, 'weft_drops_total', { reason }), 0, `${agent.node}: ${reason}`)
    }
  }
})

labTest('a peer may move, and may have no address until it calls', async (t, lab) => {
  // h1 is behind a NAT: h2 has no address of it.
  const change = (tables: ForwardingTables, node: string): ForwardingTables =>
    node === 'h2' ? placed(tables, 'h1', undefined) : tables
  const pair = await relayedPair(lab, { change, clear: false })

  await t.test('before it has called nobody can reach it', async (t) => {
    const out = await pair.b.ask.ping(pair.addressA[4], SILENT)
    t.same(out, { error: 'silence' })
  })
  await t.test('it calls, and from then on both can begin', async (t) => {
    await alive(pair)
    const order = { up: 1 << 20, down: 1 << 20, seed: 5 }
    t.equal((await pair.b.ask.bulk(pair.addressA[4], PORT, order, 15_000)).whole, true)
  })
  await t.test('its address changes while it talks', async (t) => {
    let done = false
    const asking = keepAsking(pair, () => done)
    const big = { up: 6 << 20, down: 6 << 20, seed: 6 }
    const bulk = pair.a.ask.bulk(pair.addressB[4], PORT, big, 25_000)
    const roams = async (): Promise<number> => sumOf(await pair.h2.metrics(), 'weft_roams_total')
    for (const [i, port] of [DOOR_B + 10, DOOR_B + 20, DOOR_B + 30].entries()) {
      const before = await roams()
      await pair.relay.ask.move('b', port)
      await waitFor(async () => (await roams()) > before, { what: `h2 to notice move ${i + 1}` })
    }
    t.equal((await bulk).whole, true, 'bulk TCP went on')
    done = true
    const { answers, longestGapMs } = await asking
    t.ok(answers > 10, `${answers} answers, longest silence ${Math.round(longestGapMs)} ms`)
    t.ok(longestGapMs < 3000, 'no long silence')
  })
  await t.test('whose datagrams are repeated from elsewhere does not move', async (t) => {
    const before = sumOf(await pair.h2.metrics(), 'weft_roams_total')
    const old = (await pair.relay.ask.heard('a')).filter((text) => text.startsWith('04000000'))
    await pair.stranger.ask.datagrams(pair.h2.host.address, 4789, old.slice(-20))
    await dropsReach(pair.h2, 'replayed', 0, 20)
    t.equal(sumOf(await pair.h2.metrics(), 'weft_roams_total'), before)
    await alive(pair)
  })
})

labTest('a host’s address changes under load', async (t, lab) => {
  const pair = await relayedPair(lab)
  await alive(pair)
  const host = pair.h1.host
  let over = false
  const order = { up: 12 << 20, down: 12 << 20, seed: 8 }
  const bulk = pair.a.ask.bulk(pair.addressB[4], PORT, order, 30_000).finally(() => {
    over = true
  })
  const sent = sumOf(await pair.h1.metrics(), 'weft_peer_transmit_bytes_total')
  const flows = async (): Promise<boolean> =>
    sumOf(await pair.h1.metrics(), 'weft_peer_transmit_bytes_total') > sent + 100_000
  await waitFor(flows, { what: 'the transfer to be under way' })
  // The relay knows the old address only: from the new one h1 speaks to h2 directly, and h2
  // follows.
  const moved = host.address.replace(/\d+$/, '77')
  await host.ip([`addr del ${host.address}/24 dev eth0`, `addr add ${moved}/24 dev eth0`])
  t.equal(over, false, 'the address changes in the middle of it')
  await pair.h1.reload({
    ...placed(pair.plan.tables('h1'), 'h2', `${pair.h2.host.address}:4789`),
    version: pair.plan.version + 1,
  })
  t.equal((await bulk).whole, true, 'bulk TCP went on')
  await alive(pair)
  t.ok(sumOf(await pair.h2.metrics(), 'weft_roams_total') >= 1, 'h2 followed')
})
