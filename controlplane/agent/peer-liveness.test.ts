// Goal: a peer is silent when it was spoken to and does not answer, soon, and for no other reason.
// Method: readings of counters by hand, at the pace of the agent's looks.

import t from 'tap'
import {
  ASKED_MAX,
  CALLED_MAX,
  CALM_MS,
  DEAD_MS,
  KNOCK_MS,
  LONG_SILENT_LOOKS,
  LOOK_LATE_MS,
  LOOK_MS,
  PATIENCE_MAX,
  SILENT_MS,
} from './limits.ts'
import { type Look, PeerLiveness } from './peer-liveness.ts'

class Tunnel {
  readonly liveness = new PeerLiveness()
  nowMs = 0
  received = 0
  sent = 0
  last: Look = { asked: [], called: [], isNews: false }

  /** Looks until `ms` later; each interval brings so many packets. */
  pass(ms: number, received: number, sent: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += LOOK_MS
      this.received += received
      this.sent += sent
      this.look()
    }
  }

  look(): void {
    const { received, sent } = this
    this.last = this.liveness.look([{ nodeId: 'b', received, sent }], this.nowMs)
  }

  get isSilent(): boolean {
    return this.liveness.silent.has('b')
  }

  /** Silence from now on, with as much as one packet sent; how long until it is known. */
  untilSilent(): number {
    this.pass(LOOK_MS, 0, 1)
    const fromMs = this.nowMs
    while (!this.isSilent) this.pass(LOOK_MS, 0, 0)
    return this.nowMs - fromMs
  }
}

t.test('who answers through the tunnel', async (t) => {
  const tunnel = new Tunnel()
  tunnel.pass(10_000, 0, 0)
  t.notOk(tunnel.isSilent, 'nobody spoke to it')
  t.same(tunnel.liveness.heard(tunnel.nowMs), [])
  t.same(tunnel.last.asked, [])
  tunnel.pass(10_000, 1, 1)
  t.same(tunnel.liveness.heard(tunnel.nowMs), ['b'])
  t.same(tunnel.last.asked, [], 'nor need it be asked while it answers')
  tunnel.pass(LOOK_MS, 0, 1)
  tunnel.pass(KNOCK_MS, 0, 0)
  t.same(tunnel.last.asked, ['b'], 'it is asked when it does not')
  t.notOk(tunnel.isSilent)
  tunnel.pass(LOOK_MS, 1, 1)
  t.same(tunnel.last.asked, [])
  const tookMs = tunnel.untilSilent()
  t.ok(tookMs >= SILENT_MS && tookMs < SILENT_MS + LOOK_MS, `${tookMs} ms`)
  t.ok(tunnel.last.isNews)
  t.same(tunnel.liveness.heard(tunnel.nowMs), [])
  t.same(tunnel.last.called, ['b'], 'it may have lost its keys')
  tunnel.pass(LOOK_MS, 0, 1)
  t.notOk(tunnel.last.isNews)
  t.same(tunnel.last.asked, ['b'], 'and asked on')
  let asked = 0
  for (let n = 0; n < 100; n++) {
    tunnel.pass(LOOK_MS, 0, 0)
    asked += tunnel.last.asked.length
  }
  t.ok(asked < 100 && asked > 50 / LONG_SILENT_LOOKS, `if seldom after a while: ${asked} of 100`)
  tunnel.pass(LOOK_MS, 1, 1)
  t.notOk(tunnel.isSilent, 'one packet is enough')
  t.ok(tunnel.last.isNews)
})

t.test('who is silent again and again is given longer', async (t) => {
  const tunnel = new Tunnel()
  tunnel.pass(LOOK_MS, 1, 1)
  const factors: number[] = []
  for (let n = 0; n < 4; n++) {
    factors.push(Math.floor(tunnel.untilSilent() / SILENT_MS))
    tunnel.pass(LOOK_MS, 1, 1)
  }
  t.same(factors, [1, 2, PATIENCE_MAX, PATIENCE_MAX])
  tunnel.pass(CALM_MS, 1, 1)
  t.equal(Math.floor(tunnel.untilSilent() / SILENT_MS), 1, 'until it has been calm for long')
})

t.test('who was dead is given no longer', async (t) => {
  const tunnel = new Tunnel()
  tunnel.pass(LOOK_MS, 1, 1)
  for (let n = 0; n < 3; n++) {
    t.equal(Math.floor(tunnel.untilSilent() / SILENT_MS), 1)
    tunnel.pass(DEAD_MS, 0, 0)
    tunnel.pass(LOOK_MS, 1, 1)
    t.notOk(tunnel.isSilent)
  }
})

t.test('many at a time have their turns, and nobody is silent who was not asked', async (t) => {
  const liveness = new PeerLiveness()
  const names = Array.from({ length: 3 * ASKED_MAX }, (_, i) => `n${i}`)
  const asked = new Map<string, number>()
  const look = (nowMs: number, sent: number): void => {
    const readings = names.map((nodeId) => ({ nodeId, received: 0, sent }))
    const found = liveness.look(readings, nowMs)
    t.ok(found.asked.length <= ASKED_MAX && found.called.length <= CALLED_MAX)
    for (const id of found.asked) asked.set(id, (asked.get(id) ?? 0) + 1)
  }
  look(0, 0)
  look(LOOK_MS, 1)
  for (let n = 2; n < 2 + Math.ceil(KNOCK_MS / LOOK_MS) + 5; n++) look(n * LOOK_MS, 1)
  const silent = [...liveness.silent]
  t.ok(silent.every((id) => (asked.get(id) ?? 0) >= 2))
  t.ok(asked.size === names.length && silent.length < names.length, `${silent.length} silent`)
})

t.test("a standstill of this node is nobody's silence", async (t) => {
  const tunnel = new Tunnel()
  tunnel.pass(LOOK_MS, 1, 1)
  tunnel.pass(2 * LOOK_MS, 0, 1)
  tunnel.nowMs += LOOK_MS + LOOK_LATE_MS + 10 * SILENT_MS
  tunnel.look()
  t.notOk(tunnel.isSilent)
  tunnel.pass(SILENT_MS, 0, 0)
  t.ok(tunnel.isSilent, 'the time before and after it is')
})

t.test('counters that begin anew, and peers that go', async (t) => {
  const tunnel = new Tunnel()
  tunnel.pass(LOOK_MS, 100, 100)
  tunnel.received = 0
  tunnel.sent = 0
  tunnel.look()
  tunnel.pass(10_000, 0, 0)
  t.notOk(tunnel.isSilent, 'what a new loop has not sent needs no answer')
  tunnel.untilSilent()
  t.ok(tunnel.liveness.look([], tunnel.nowMs).isNews)
  t.equal(tunnel.liveness.silent.size, 0)
})
