// Goal: what a node answers by itself is what the RFCs ask for, and nothing is answered that must
// not be. Method: frames from fields; each answer is read back, its checksums computed anew.

import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import { TCP_ACK, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { ANSWER_AREA_SIZE, Answers } from './answers.ts'
import { DROP_NONE } from './drop-reasons.ts'
import { ANSWERS_BURST, ANSWERS_PER_SECOND } from './engine-limits.ts'
import { Frame, parseFrame, SCATTERED } from './frame.ts'
import {
  addressBytes,
  buildFrame,
  buildPacket,
  checksumsHold,
  ETHERNET,
  ICMP,
  ICMPV6,
  macOf,
  type PacketFields,
  payloadOf,
  TCP,
  view,
} from './testing/packets.ts'

const AREA = 8192
const slab = memorySlab(AREA + ANSWER_AREA_SIZE)
const answers = new Answers(slab, AREA)

const udp: PacketFields = { source: '10.1.0.11', target: '10.1.0.2', payload: payloadOf(100) }
const udp6: PacketFields = { ...udp, source: 'fd00:1::b', target: 'fd00:1::2' }
const echo = (body: number): Uint8Array => Uint8Array.of(8, 0, 0, 0, 1, 2, 3, 4, ...payloadOf(body))
const echo6 = (body: number): Uint8Array =>
  Uint8Array.of(128, 0, 0, 0, 1, 2, 3, 4, ...payloadOf(body))

function lay(fields: PacketFields): Frame {
  const bytes = buildFrame(fields)
  slab.bytes.set(bytes, 64)
  const frame = new Frame()
  frame.setWhole(64, bytes.length)
  if (parseFrame(slab.view, frame) !== DROP_NONE) throw new Error('not parsed')
  return frame
}

const answer = (size: number): Uint8Array => slab.bytes.slice(answers.at, answers.at + size)

t.test('an echo request becomes its reply', async (t) => {
  const rows: readonly [PacketFields, PacketFields][] = [
    [
      { ...udp, protocol: ICMP, payload: echo(56), ttl: 9 },
      { ...udp, protocol: ICMP, payload: Uint8Array.of(0, ...echo(56).subarray(1)) },
    ],
    [
      { ...udp6, protocol: ICMPV6, payload: echo6(56), ttl: 9 },
      { ...udp6, protocol: ICMPV6, payload: Uint8Array.of(129, ...echo6(56).subarray(1)) },
    ],
  ]
  for (const [request, reply] of rows) {
    const frame = lay(request)
    t.ok(answers.isEchoRequest(frame))
    answers.turnEcho(frame)
    const got = slab.bytes.slice(frame.at, frame.end())
    t.same(got, buildFrame({ ...reply, source: request.target, target: request.source }))
    t.ok(checksumsHold(got))
  }
})

t.test('what is not an echo request', async (t) => {
  const rows: readonly [string, PacketFields][] = [
    ['UDP', udp],
    [
      'an echo reply',
      { ...udp, protocol: ICMP, payload: Uint8Array.of(0, ...echo(8).subarray(1)) },
    ],
    [
      'a fragment of one',
      { ...udp, protocol: ICMP, payload: echo(8), fragment: { offset: 0, more: true } },
    ],
    ['half a header', { ...udp, protocol: ICMP, payload: Uint8Array.of(8, 0, 0, 0) }],
    ['ICMP over IPv6', { ...udp6, protocol: ICMP, payload: echo(8) }],
    ['ICMPv6 over IPv4', { ...udp, protocol: ICMPV6, payload: echo6(8) }],
  ]
  for (const [sentence, fields] of rows) t.notOk(answers.isEchoRequest(lay(fields)), sentence)
  const scattered = lay({ ...udp, protocol: ICMP, payload: echo(2000) })
  Object.assign(scattered, { shape: SCATTERED, headSize: 1000 })
  t.notOk(answers.isEchoRequest(scattered), 'one whose checksum would have to be gathered')
})

t.test('errors quote the packet, to the size that their RFC allows', async (t) => {
  for (const size of [0, 100, 3000]) {
    const v4 = { ...udp, payload: payloadOf(size) }
    const v6 = { ...udp6, payload: payloadOf(size) }
    for (const [write, type4, code4, type6, code6] of [
      [(frame: Frame) => answers.writePortUnreachable(frame), 3, 3, 1, 4],
      [(frame: Frame) => answers.writeTooBig(frame, 1300), 3, 4, 2, 0],
    ] as const) {
      const frame4 = answer(write(lay(v4)))
      t.ok(checksumsHold(frame4))
      t.same([frame4[34], frame4[35]], [type4, code4])
      t.equal(view(frame4).getUint16(40), code4 === 4 ? 1300 : 0)
      t.ok(frame4.length - ETHERNET <= 576)
      t.same(frame4.subarray(26, 30), addressBytes(udp.target))
      t.same(frame4.subarray(30, 34), addressBytes(udp.source))
      t.same(frame4.subarray(42), buildPacket(v4).subarray(0, 576 - 28))
      t.same(frame4.subarray(0, 6), macOf(udp.source))
      const frame6 = answer(write(lay(v6)))
      t.ok(checksumsHold(frame6))
      t.same([frame6[54], frame6[55]], [type6, code6])
      t.equal(view(frame6).getUint32(58), type6 === 2 ? 1300 : 0)
      t.ok(frame6.length - ETHERNET <= 1280)
      t.same(frame6.subarray(62), buildPacket(v6).subarray(0, 1280 - 48))
    }
  }
})

t.test('a reset answers as if nobody listened (RFC 9293 3.10.7.1)', async (t) => {
  for (const base of [udp, udp6]) {
    const tcp = { ...base, protocol: TCP, sequence: 1000, acknowledgement: 77 }
    const l4 = ETHERNET + (base === udp ? 20 : 40)
    const opening = answer(
      answers.writeReset(lay({ ...tcp, flags: TCP_SYN, payload: payloadOf(0) })),
    )
    t.ok(checksumsHold(opening))
    t.equal(opening[l4 + 13], TCP_RST | TCP_ACK)
    t.equal(view(opening).getUint32(l4 + 8), 1001)
    const data = answer(answers.writeReset(lay({ ...tcp, flags: TCP_ACK })))
    t.ok(checksumsHold(data))
    t.equal(data[l4 + 13], TCP_RST)
    t.equal(view(data).getUint32(l4 + 4), 77)
    t.equal(answers.writeReset(lay({ ...tcp, flags: TCP_RST })), 0)
  }
  t.equal(answers.writeReset(lay(udp)), 0)
})

t.test('what must not be answered', async (t) => {
  const rows: readonly [string, PacketFields, boolean][] = [
    ['UDP', udp, true],
    ['an echo request', { ...udp, protocol: ICMP, payload: echo(8) }, true],
    ['a first fragment', { ...udp, fragment: { offset: 0, more: true } }, true],
    ['a later fragment', { ...udp, fragment: { offset: 8, more: true } }, false],
    ['a later IPv6 fragment', { ...udp6, fragment: { offset: 8, more: true } }, false],
    [
      'an ICMP error',
      { ...udp, protocol: ICMP, payload: Uint8Array.of(3, ...echo(8).subarray(1)) },
      false,
    ],
    [
      'an ICMPv6 error',
      { ...udp6, protocol: ICMPV6, payload: Uint8Array.of(1, ...echo(8).subarray(1)) },
      false,
    ],
    ['from the unspecified address', { ...udp6, source: '::' }, false],
    ['to a group', { ...udp6, target: 'ff02::1' }, false],
    ['to a group of IPv4', { ...udp, target: '224.0.0.251' }, false],
    ['to everybody', { ...udp, target: '255.255.255.255' }, false],
  ]
  const fresh = new Answers(slab, AREA)
  for (const [sentence, fields, expected] of rows) {
    t.equal(fresh.isAnswerable(lay(fields)), expected, sentence)
    t.equal(fresh.mayAnswer(lay(fields), 1), expected, sentence)
  }
})

t.test('a burst, then so many per second', async (t) => {
  const fresh = new Answers(slab, AREA)
  const frame = lay(udp)
  const count = (nowMs: number, tries: number): number => {
    let granted = 0
    for (let i = 0; i < tries; i++) if (fresh.mayAnswer(frame, nowMs)) granted++
    return granted
  }
  t.equal(count(5000, 1000), ANSWERS_BURST)
  t.equal(count(5000, 10), 0)
  t.equal(count(5050, 1000), 50 * (ANSWERS_PER_SECOND / 1000))
  t.equal(count(1e9, 1000), ANSWERS_BURST, 'a long silence saves up no more than a burst')
  let granted = 0
  for (let nowMs = 1e9; nowMs < 1e9 + 1000; nowMs += 0.25) granted += count(nowMs, 3)
  t.ok(Math.abs(granted - ANSWERS_PER_SECOND) <= 2, `${granted} in a second of small steps`)
})
