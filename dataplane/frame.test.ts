// Goal: after parseFrame() said yes, every header lies within the frame, wherever the frame was
// cut; and an offload request is believed only where it fits the packet. Method: captured packets
// cut at every length, read through a view that throws outside the frame; then rows of single
// contradictions.

import t from 'tap'
import { loadFixtures } from '../test/fixtures.ts'
import { guardedView } from '../test/guarded-view.ts'
import { DROP_BAD_HEADER, DROP_NONE, DROP_NOT_IP, DROP_TRUNCATED } from './drop-reasons.ts'
import {
  checksumFieldAt,
  FAMILY_ARP,
  FIRST_FRAGMENT,
  Frame,
  headersEnd,
  LATER_FRAGMENT,
  NOT_A_FRAGMENT,
  parseFrame,
  readOffload,
  SCATTERED,
} from './frame.ts'
import {
  buildFrame,
  concat,
  ETHERNET,
  type PacketFields,
  payloadOf,
  TCP,
  UDP,
  view,
} from './testing/packets.ts'

const FRONT = 40

function parse(bytes: Uint8Array): { frame: Frame; reason: number; laid: Uint8Array } {
  const laid = concat(new Uint8Array(FRONT), bytes, new Uint8Array(FRONT))
  const frame = new Frame()
  frame.setWhole(FRONT, bytes.length)
  const reason = parseFrame(guardedView(laid, FRONT, FRONT + bytes.length), frame)
  return { frame, reason, laid }
}

t.test('cut anywhere, a frame is refused or all its headers are there', async (t) => {
  let accepted = 0
  for (const { bytes, sentence } of loadFixtures()) {
    for (let size = 0; size <= bytes.length; size++) {
      const { frame, reason, laid } = parse(bytes.subarray(0, size))
      if (reason !== DROP_NONE || frame.family === FAMILY_ARP) continue
      accepted++
      if (frame.end() > FRONT + size) t.fail(`${sentence}: ends behind its bytes`)
      if (frame.fragment === LATER_FRAGMENT) continue
      if (frame.l4At > frame.end()) t.fail(`${sentence}: upper layer behind the end`)
      if (frame.protocol !== TCP && frame.protocol !== UDP) continue
      if (headersEnd(view(laid), frame) > frame.end()) t.fail(`${sentence}: header behind the end`)
      if (checksumFieldAt(frame) + 2 > frame.end()) t.fail(`${sentence}: checksum behind the end`)
    }
    // Whole, every captured packet is good.
    const { reason } = parse(bytes)
    if (reason !== DROP_NONE) t.equal(reason, DROP_NOT_IP, sentence)
  }
  t.ok(accepted > 50, `${accepted} accepted`)
})

const udp: PacketFields = { source: '10.1.0.11', target: '10.1.0.21', payload: payloadOf(32) }
const udp6: PacketFields = { ...udp, source: 'fd00:1::b', target: 'fd00:1::15' }

t.test('what parsing finds', async (t) => {
  const rows: readonly [string, PacketFields, Partial<Frame>][] = [
    ['UDP', udp, { family: 4, protocol: UDP, l4At: FRONT + 34, fragment: NOT_A_FRAGMENT }],
    ['IPv4 options', { ...udp, ipOptions: new Uint8Array(8) }, { l4At: FRONT + 42 }],
    ['UDP over IPv6', udp6, { family: 6, protocol: UDP, l4At: FRONT + 54 }],
    [
      'first fragment',
      { ...udp, fragment: { offset: 0, more: true } },
      { fragment: FIRST_FRAGMENT },
    ],
    [
      'later fragment',
      { ...udp, fragment: { offset: 8, more: true } },
      { fragment: LATER_FRAGMENT },
    ],
    [
      'first IPv6 fragment',
      { ...udp6, fragment: { offset: 0, more: true } },
      { fragment: FIRST_FRAGMENT, protocol: UDP, l4At: FRONT + 62 },
    ],
    [
      'later IPv6 fragment',
      { ...udp6, fragment: { offset: 8, more: false } },
      { fragment: LATER_FRAGMENT },
    ],
  ]
  for (const [sentence, fields, expected] of rows) {
    const { frame, reason } = parse(buildFrame(fields))
    t.equal(reason, DROP_NONE, sentence)
    t.match(frame, expected, sentence)
  }
})

t.test('padding is cut off', async (t) => {
  const bytes = buildFrame({ ...udp, payload: payloadOf(1) })
  const { frame, reason } = parse(concat(bytes, new Uint8Array(17)))
  t.equal(reason, DROP_NONE)
  t.equal(frame.size, bytes.length)
  t.equal(frame.headSize, bytes.length)
})

t.test('headers that contradict themselves', async (t) => {
  const spoiled = (fields: PacketFields, at: number, value: number): Uint8Array => {
    const bytes = buildFrame(fields)
    bytes[at] = value
    return bytes
  }
  const tcp = { ...udp, protocol: TCP }
  const rows: readonly [string, Uint8Array, number][] = [
    ['no Ethernet header', new Uint8Array(13), DROP_TRUNCATED],
    ['another ethertype', spoiled(udp, 12, 0x88), DROP_NOT_IP],
    ['IPv4 that says it is IPv6', spoiled(udp, ETHERNET, 0x65), DROP_TRUNCATED],
    ['an IPv4 header of four words', spoiled(udp, ETHERNET, 0x44), DROP_TRUNCATED],
    ['a total length behind the end', spoiled(udp, ETHERNET + 2, 9), DROP_TRUNCATED],
    ['IPv6 that says it is IPv4', spoiled(udp6, ETHERNET, 0x40), DROP_TRUNCATED],
    ['a TCP header of four words', spoiled(tcp, ETHERNET + 32, 0x40), DROP_BAD_HEADER],
    [
      'a TCP header behind the end',
      spoiled({ ...tcp, payload: payloadOf(4) }, ETHERNET + 32, 0xf0),
      DROP_BAD_HEADER,
    ],
    ['half a UDP header', buildFrame({ ...udp, protocol: 1, payload: payloadOf(4) }), DROP_NONE],
    ['an extension header behind the end', spoiled(udp6, ETHERNET + 6, 0), DROP_BAD_HEADER],
  ]
  for (const [sentence, bytes, expected] of rows) {
    t.equal(parse(bytes).reason, expected, sentence)
  }
  const half = buildFrame({ ...udp, protocol: 1, payload: payloadOf(4) })
  half[ETHERNET + 9] = UDP
  t.equal(parse(half).reason, DROP_TRUNCATED)
})

t.test('a partial checksum is believed for TCP and UDP, at their header only', async (t) => {
  const ask = (fields: PacketFields, start: number, linkSize: number): number => {
    const { frame, laid } = parse(buildFrame(fields))
    const vnet = view(laid)
    vnet.setUint8(0, 1)
    vnet.setUint16(6, start, true)
    return readOffload(vnet, 0, frame, linkSize)
  }
  t.equal(ask(udp, 34, 14), DROP_NONE)
  t.equal(ask(udp, 20, 0), DROP_NONE, 'a TUN counts from the IP header')
  t.equal(ask(udp, 20, 14), DROP_BAD_HEADER)
  t.equal(ask(udp, 65535, 14), DROP_BAD_HEADER)
  t.equal(ask({ ...udp, protocol: 1 }, 34, 14), DROP_BAD_HEADER)
  t.equal(ask({ ...udp, protocol: 132 }, 34, 14), DROP_BAD_HEADER)
})

t.test('the extent of a scattered frame is that of its last slot', async (t) => {
  const frame = new Frame()
  frame.setWhole(100, 5000)
  t.equal(frame.extentEnd(), 5100)
  Object.assign(frame, {
    shape: SCATTERED,
    headSize: 1000,
    slotAt: 1300,
    slotSize: 900,
    stride: 1200,
  })
  // 4000 bytes in slots of 900: five of them.
  t.equal(frame.extentEnd(), 1300 + 4 * 1200 + 900)
})
