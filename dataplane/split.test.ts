// Goal: a super-packet is cut as Linux GSO cuts it, whatever its headers. Method: the plain twin
// builds each segment from named fields; the splitter's are compared with it byte for byte, over
// both families and protocols, all header sizes and segment sizes, in place and copied; a finished
// checksum is compared with one computed anew.

import fc from 'fast-check'
import t from 'tap'
import { finishChecksum } from '../wire/checksum.ts'
import { TCP_ACK, TCP_CWR, TCP_ECE, TCP_FIN, TCP_PSH, TCP_URG } from '../wire/tcp.ts'
import { DROP_BAD_HEADER, DROP_NONE } from './drop-reasons.ts'
import { checksumFieldAt, Frame, parseFrame, readOffload } from './frame.ts'
import { Splitter } from './split.ts'
import {
  buildFrame,
  checksumsHold,
  concat,
  ETHERNET,
  type PacketFields,
  payloadOf,
  segmentsOf,
  TCP,
  UDP,
  view,
  vnetOf,
} from './testing/packets.ts'

const words = (max: number): fc.Arbitrary<Uint8Array> =>
  fc.nat(max).chain((n) => fc.uint8Array({ minLength: 4 * n, maxLength: 4 * n }))

/** IPv4 options that end at once: what follows the end is padding. */
const ipOptions = fc.nat(10).map((n) => new Uint8Array(4 * n))

const superPacket = fc
  .record({
    v6: fc.boolean(),
    protocol: fc.constantFrom(TCP, UDP),
    sequence: fc.oneof(
      fc.nat(0xffffffff),
      fc.nat(5000).map((n) => 0xffffffff - n),
    ),
    acknowledgement: fc.nat(0xffffffff),
    flags: fc.subarray([TCP_ACK, TCP_PSH, TCP_FIN, TCP_ECE, TCP_CWR, TCP_URG]),
    window: fc.nat(0xffff),
    options: words(10),
    ipOptions,
    identification: fc.nat(0xffff),
    dontFragment: fc.boolean(),
    tos: fc.nat(255),
    ttl: fc.integer({ min: 1, max: 255 }),
    size: fc.oneof(fc.integer({ min: 1, max: 4000 }), fc.integer({ min: 1, max: 65000 })),
    gsoSize: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 400, max: 9000 })),
  })
  .map(({ v6, flags, size, gsoSize, ...rest }) => {
    const fields: PacketFields = {
      ...rest,
      source: v6 ? 'fd00:1::b' : '10.1.0.11',
      target: v6 ? 'fd00:1::15' : '10.1.0.21',
      flags: flags.reduce((all, flag) => all | flag, 0),
      ipOptions: v6 ? new Uint8Array(0) : rest.ipOptions,
      options: rest.protocol === TCP ? rest.options : new Uint8Array(0),
      payload: payloadOf(Math.min(size, gsoSize * 300, 65535 - 120), size),
      partial: true,
    }
    return { fields, gsoSize }
  })

const FRONT = 64

/** The frame in a buffer with room in front, described as the loop would have it. */
function lay(
  fields: PacketFields,
  gsoSize: number,
  room: number,
): { bytes: Uint8Array; frame: Frame } {
  const whole = buildFrame(fields)
  const bytes = concat(
    new Uint8Array(FRONT - 10),
    vnetOf(fields, gsoSize),
    whole,
    new Uint8Array(room),
  )
  const frame = new Frame()
  frame.setWhole(FRONT, whole.length)
  if (parseFrame(view(bytes), frame) !== DROP_NONE) throw new Error('not parsed')
  if (readOffload(view(bytes), FRONT - 10, frame, ETHERNET) !== DROP_NONE)
    throw new Error('refused')
  return { bytes, frame }
}

t.test('copied: every segment is the one built from its fields', async () => {
  fc.assert(
    fc.property(superPacket, fc.nat(40), ({ fields, gsoSize }, gap) => {
      const expected = segmentsOf(fields, gsoSize).map(buildFrame)
      const stride = expected[0]!.length + gap
      const { bytes, frame } = lay(fields, gsoSize, stride * expected.length)
      const splitter = new Splitter()
      if (!splitter.measure(view(bytes), frame)) throw new Error('contradiction')
      splitter.begin(view(bytes), frame)
      if (splitter.count !== expected.length) throw new Error(`${splitter.count} segments`)
      if (frame.packets !== expected.length) throw new Error(`${frame.packets} packets`)
      const first = frame.end()
      splitter.copyPayloads(bytes, frame.at, first, stride)
      for (let i = splitter.count - 1; i >= 0; i--) {
        splitter.header(bytes, view(bytes), frame.at, first + i * stride, i)
      }
      expected.forEach((segment, i) => {
        const at = first + i * stride
        same(bytes.subarray(at, at + splitter.segmentSize(i)), segment, `segment ${i}`)
      })
    }),
    { numRuns: 400 },
  )
})

t.test('in place: payloads that already lie behind their headers give the same', async () => {
  fc.assert(
    fc.property(superPacket, ({ fields, gsoSize }) => {
      const expected = segmentsOf(fields, gsoSize).map(buildFrame)
      const { bytes, frame } = lay(fields, gsoSize, 0)
      const headerSize = expected[0]!.length - Math.min(gsoSize, fields.payload!.length)
      // As a scattered read leaves it: segment 0 whole, the payload of each other at its slot.
      const stride = expected[0]!.length + 48
      const laid = new Uint8Array(FRONT + stride * expected.length)
      laid.set(bytes.subarray(FRONT, FRONT + expected[0]!.length), FRONT)
      expected.forEach((segment, i) => {
        if (i > 0) laid.set(segment.subarray(headerSize), FRONT + i * stride + headerSize)
      })
      const splitter = new Splitter()
      frame.headSize = expected[0]!.length
      splitter.measure(view(laid), frame)
      splitter.begin(view(laid), frame)
      for (let i = splitter.count - 1; i >= 0; i--) {
        splitter.header(laid, view(laid), FRONT, FRONT + i * stride, i)
      }
      expected.forEach((segment, i) => {
        const at = FRONT + i * stride
        same(laid.subarray(at, at + segment.length), segment, `segment ${i}`)
      })
    }),
    { numRuns: 300 },
  )
})

t.test('a partial checksum that is finished is the checksum computed anew', async () => {
  fc.assert(
    fc.property(superPacket, ({ fields, gsoSize }) => {
      for (const segment of segmentsOf(fields, gsoSize).slice(-3)) {
        const bytes = buildFrame(segment)
        const frame = new Frame()
        frame.setWhole(0, bytes.length)
        parseFrame(view(bytes), frame)
        finishChecksum(view(bytes), frame.l4At, frame.end(), checksumFieldAt(frame))
        if (!checksumsHold(bytes)) throw new Error('the checksum does not hold')
        const anew = buildFrame({ ...segment, partial: false })
        // Both zeros of one's complement are right for TCP; the loop writes the one UDP allows.
        const field = checksumFieldAt(frame)
        if (view(anew).getUint16(field) === 0) view(anew).setUint16(field, 0xffff)
        same(bytes, anew, 'finished')
      }
    }),
    { numRuns: 200 },
  )
})

t.test('a request that contradicts the packet is refused', async (t) => {
  const tcp: PacketFields = {
    source: '10.1.0.11',
    target: '10.1.0.21',
    protocol: TCP,
    payload: payloadOf(3000),
    partial: true,
  }
  const udp6: PacketFields = { ...tcp, source: 'fd00:1::b', target: 'fd00:1::15', protocol: UDP }
  const cases: readonly [string, PacketFields, (vnet: DataView) => void, number][] = [
    ['as the kernel asks', tcp, () => {}, DROP_NONE],
    ['with the ECN bit', tcp, (v) => v.setUint8(1, v.getUint8(1) | 0x80), DROP_NONE],
    ['the header size is not looked at', tcp, (v) => v.setUint16(2, 9, true), DROP_NONE],
    ['UDP over IPv6', udp6, () => {}, DROP_NONE],
    ['no segment size', tcp, (v) => v.setUint16(4, 0, true), DROP_BAD_HEADER],
    ['TCPv6 of an IPv4 packet', tcp, (v) => v.setUint8(1, 4), DROP_BAD_HEADER],
    ['UDP of a TCP packet', tcp, (v) => v.setUint8(1, 5), DROP_BAD_HEADER],
    ['TCPv4 of a UDP packet', udp6, (v) => v.setUint8(1, 1), DROP_BAD_HEADER],
    ['UDP fragmentation, long gone', udp6, (v) => v.setUint8(1, 3), DROP_BAD_HEADER],
    ['a type that does not exist', tcp, (v) => v.setUint8(1, 0x7f), DROP_BAD_HEADER],
    ['segments, but a whole checksum', tcp, (v) => v.setUint8(0, 0), DROP_BAD_HEADER],
    ['a checksum that starts elsewhere', tcp, (v) => v.setUint16(6, 33, true), DROP_BAD_HEADER],
  ]
  for (const [sentence, fields, change, reason] of cases) {
    const whole = buildFrame(fields)
    const vnet = vnetOf(fields, 1000)
    change(view(vnet))
    const bytes = concat(vnet, whole)
    const frame = new Frame()
    frame.setWhole(10, whole.length)
    t.equal(parseFrame(view(bytes), frame), DROP_NONE)
    t.equal(readOffload(view(bytes), 0, frame, ETHERNET), reason, sentence)
  }
})

t.test('segments of a fragment, of nothing, and of other protocols are refused', async (t) => {
  const fields: PacketFields = { source: '10.1.0.11', target: '10.1.0.21', partial: true }
  const cases: readonly [string, PacketFields][] = [
    [
      'a first fragment',
      { ...fields, payload: payloadOf(2000), fragment: { offset: 0, more: true } },
    ],
    ['no payload', { ...fields, payload: new Uint8Array(0) }],
    ['ICMP', { ...fields, protocol: 1, payload: payloadOf(2000) }],
  ]
  for (const [sentence, packet] of cases) {
    const bytes = concat(vnetOf(fields, 500), buildFrame(packet))
    const frame = new Frame()
    frame.setWhole(10, bytes.length - 10)
    t.equal(parseFrame(view(bytes), frame), DROP_NONE)
    t.equal(readOffload(view(bytes), 0, frame, ETHERNET), DROP_BAD_HEADER, sentence)
  }
})

function same(got: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(got, expected) === 0) return
  const at = expected.findIndex((byte, i) => byte !== got[i])
  throw new Error(`${what}: byte ${at} is ${got[at]}, not ${expected[at]}`)
}
