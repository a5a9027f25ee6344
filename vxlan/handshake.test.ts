// Goal: messages have the layout of docs/packet-formats.md, cookies bind an address, limits limit,
// and no bytes whatsoever upset the parser. Method: literal offsets, a virtual clock, and fuzzing
// of whole nodes.

import fc from 'fast-check'
import t from 'tap'
import { HANDSHAKE_COOKIE_SENT, HANDSHAKE_REFUSED } from './contract.ts'
import { MacChecker, MacWriter } from './cookie.ts'
import { FakeNetwork, sourceOf } from './fake-network.ts'
import {
  buildInitiation,
  buildResponse,
  COOKIE_REPLY_SIZE,
  checkHandshake,
  compareTimestamps,
  cookieReceiverIndex,
  INITIATION_SIZE,
  initiationNoise,
  RESPONSE_SIZE,
  responseNoise,
  responseReceiverIndex,
  senderIndex,
  TimestampSource,
} from './handshake.ts'
import {
  COOKIE_LIFE_MS,
  HANDSHAKES_PER_SECOND_MAX,
  HANDSHAKES_PER_SOURCE_BURST,
  SOURCES_MAX,
  UNDER_LOAD_HANDSHAKES_PER_SECOND,
  UNDER_LOAD_MS,
} from './limits.ts'
import { HandshakeLimiter } from './rate-limit.ts'

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

t.test('sizes and offsets', async (t) => {
  t.same([INITIATION_SIZE, RESPONSE_SIZE, COOKIE_REPLY_SIZE], [148, 92, 52])
  const initiation = buildInitiation(0x01020304, new Uint8Array(108).fill(0xaa))
  t.equal(text(initiation), `0100000001020304${'aa'.repeat(108)}${'00'.repeat(32)}`)
  t.equal(senderIndex(initiation), 0x01020304)
  t.equal(initiationNoise(initiation).length, 108)
  const response = buildResponse(0x01020304, 0xf1f2f3f4, new Uint8Array(48).fill(0xbb))
  t.equal(text(response), `0200000001020304f1f2f3f4${'bb'.repeat(48)}${'00'.repeat(32)}`)
  t.equal(responseReceiverIndex(response), 0xf1f2f3f4)
  t.equal(responseNoise(response).length, 48)
})

t.test('only exact lengths and zero flags are messages', async () => {
  const sizes: Record<number, number> = {
    1: INITIATION_SIZE,
    2: RESPONSE_SIZE,
    3: COOKIE_REPLY_SIZE,
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 160 }), fc.nat(9), fc.nat(2), (bytes, type, flags) => {
      if (bytes.length >= 4) bytes.set([type, 0, 0, flags === 0 ? 1 : 0])
      const expected = sizes[type] === bytes.length && flags !== 0 ? type : 0
      return checkHandshake(bytes) === expected
    }),
    { numRuns: 1000 },
  )
})

t.test('timestamps only rise', async (t) => {
  let wallMs = 1.7e12
  const source = new TimestampSource(() => wallMs)
  const first = source.next()
  // 1 700 000 000 s = 0x6553f100, plus the ten seconds of TAI64.
  t.equal(text(first), '400000006553f10a00000000')
  let last = first
  for (const jump of [0, 0, 0.5, -3600_000, 0, 7200_000, 1]) {
    wallMs += jump
    const next = source.next()
    t.ok(compareTimestamps(next, last) > 0)
    last = next
  }
})

t.test('a cookie is good for its address and its time', async (t) => {
  let draws = 0
  const random = (size: number): Uint8Array => new Uint8Array(size).fill(++draws)
  const own = new Uint8Array(32).fill(5)
  const checker = new MacChecker(own, random)
  const writer = new MacWriter(own)
  const here = sourceOf(1)
  const message = buildInitiation(77, new Uint8Array(108))
  writer.write(message, 0)
  t.ok(checker.checkMac1(message))
  t.notOk(new MacChecker(new Uint8Array(32), random).checkMac1(message), 'for another key')
  t.notOk(checker.checkMac2(message, here, 0), 'no cookie yet')

  const reply = checker.reply(message, here, 0)
  t.equal(reply.length, COOKIE_REPLY_SIZE)
  t.equal(cookieReceiverIndex(reply), 77)
  const forged = Uint8Array.from(reply)
  forged[30]! ^= 1
  t.notOk(writer.take(forged, 0))
  t.ok(writer.take(reply, 0))
  t.notOk(writer.take(reply, 0), 'once per message')

  writer.write(message, 1000)
  t.ok(checker.checkMac2(message, here, 1000))
  t.notOk(checker.checkMac2(message, sourceOf(2), 1000), 'from elsewhere')
  message[8]! ^= 1
  t.notOk(checker.checkMac2(message, here, 1000), 'over another message')

  writer.write(message, COOKIE_LIFE_MS - 1)
  t.ok(checker.checkMac2(message, here, COOKIE_LIFE_MS + 1), 'the secret before is still good')
  t.notOk(checker.checkMac2(message, here, 3 * COOKIE_LIFE_MS))
  const bare = buildInitiation(77, new Uint8Array(108))
  writer.write(bare, COOKIE_LIFE_MS)
  t.equal(text(bare.subarray(-16)), '00'.repeat(16), 'the initiator forgets it in time')
})

t.test('a reply answers one message only', async (t) => {
  const own = new Uint8Array(32).fill(5)
  const checker = new MacChecker(own, (size) => new Uint8Array(size))
  const writer = new MacWriter(own)
  const first = buildInitiation(1, new Uint8Array(108))
  writer.write(first, 0)
  const reply = checker.reply(first, sourceOf(1), 0)
  const second = buildInitiation(2, new Uint8Array(108))
  writer.write(second, 0)
  t.notOk(writer.take(reply, 0), 'bound to the mac1 of the message it answers')
})

t.test('buckets: per source, per /64, and for all', async (t) => {
  const limiter = new HandshakeLimiter(0)
  const take = (source: Uint8Array, nowMs: number, count: number): number => {
    let taken = 0
    for (let i = 0; i < count; i++) if (limiter.allow(source, nowMs)) taken++
    return taken
  }
  t.equal(take(sourceOf(1), 0, 200), HANDSHAKES_PER_SOURCE_BURST)
  t.equal(take(sourceOf(1), 100, 200), HANDSHAKES_PER_SOURCE_BURST / 10, 'refilled over time')
  t.equal(take(sourceOf(2), 100, 10), 10, 'another source is not affected')
  const v6 = new Uint8Array(18)
  v6[0] = 0xfd
  take(v6, 100, 200)
  v6[15] = 9
  t.equal(take(v6, 100, 10), 0, 'another host of the same /64')
  v6[7] = 1
  t.equal(take(v6, 100, 10), 10, 'another /64')
  let all = 0
  for (let i = 0; i < 2000; i++) if (limiter.allow(sourceOf(1000 + i), 10_000)) all++
  t.equal(all, HANDSHAKES_PER_SECOND_MAX)
})

t.test('memory is bounded, and sources that went quiet make room', async (t) => {
  const limiter = new HandshakeLimiter(0)
  for (let i = 0; i < 2 * SOURCES_MAX; i++) limiter.allow(sourceOf(i), 0)
  t.equal(limiter.size, SOURCES_MAX)
  t.notOk(limiter.allow(sourceOf(1e6), 500), 'no room for a new one')
  t.ok(limiter.allow(sourceOf(1e6), 5000))
  t.ok(limiter.size < SOURCES_MAX)
})

t.test('under load a cookie is demanded, obtained and accepted', async (t) => {
  const network = new FakeNetwork(3)
  const alice = network.node(1)
  const bob = network.node(2)
  const toBob = alice.add(bob)
  bob.add(alice)
  // A flood from forged addresses whose sender knows Bob's public key.
  const flood = new MacWriter(bob.table.publicKey)
  let cookies = 0
  for (let i = 0; i < 3 * UNDER_LOAD_HANDSHAKES_PER_SECOND; i++) {
    const message = buildInitiation(i + 1, new Uint8Array(108).fill(i))
    flood.write(message, 0)
    const verdict = bob.table.receiveHandshake(message, sourceOf(100 + i), -2, 0)
    if (verdict === HANDSHAKE_COOKIE_SENT) cookies++
  }
  t.equal(cookies, 2 * UNDER_LOAD_HANDSHAKES_PER_SECOND)
  t.equal(bob.table.stats.refused.noise, UNDER_LOAD_HANDSHAKES_PER_SECOND)
  const frame = alice.frame(toBob)
  network.run(UNDER_LOAD_MS - 10)
  t.equal(alice.table.stats.cookiesReceived, 1)
  t.same(bob.received, [frame], 'at the second try, without the full timeout')
  t.equal(alice.table.stats.initiationsSent, 2)
})

t.test('any bytes: no exception, no session, no answer', async (t) => {
  const network = new FakeNetwork(4)
  const alice = network.node(1)
  const bob = network.node(2)
  const toBob = alice.add(bob)
  bob.add(alice)
  const seeds: Uint8Array[] = []
  network.filter = (_from, _to, bytes) => {
    seeds.push(Uint8Array.from(bytes))
    return true
  }
  alice.frame(toBob)
  network.run(10)
  t.equal(seeds.length, 3, 'initiation, response, frame')
  const sent = bob.table.stats.responsesSent
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc
          .tuple(
            fc.constantFrom(...seeds),
            fc.array(fc.tuple(fc.nat(147), fc.nat(255)), { minLength: 1 }),
          )
          .map(([seed, changes]) => {
            const bytes = Uint8Array.from(seed)
            for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
            return bytes
          }),
      ),
      (bytes) => {
        const verdict = bob.table.receiveHandshake(bytes, sourceOf(9), 9, 20)
        return verdict === HANDSHAKE_REFUSED || verdict === HANDSHAKE_COOKIE_SENT
      },
    ),
    { numRuns: 3000 },
  )
  t.equal(bob.table.stats.responsesSent, sent)
})
