// Goal: a frame is the same whether it was read in one piece or scattered, and whatever its shape,
// the device is handed the bytes of the frame as it would lie in one piece. Method: property tests
// against a linear copy, through the in-memory device.

import fc from 'fast-check'
import t from 'tap'
import { memorySlab, type Slab } from '../base/slab.ts'
import { DROP_DEVICE_REFUSED, DROP_NONE } from './drop-reasons.ts'
import { MemoryDevice } from './edge/memory.ts'
import { FRAME_MAX, HEADROOM } from './engine-limits.ts'
import { Frame, GATHERED, parseFrame, readOffload, SCATTERED, WHOLE } from './frame.ts'
import { Delivery, learnShape, Port, readFrame, vnetAt } from './ports.ts'
import {
  buildFrame,
  buildPacket,
  concat,
  ETHERNET,
  type PacketFields,
  payloadOf,
  segmentsOf,
  TCP,
  UDP,
  vnetOf,
} from './testing/packets.ts'
import { linearize } from './transmitter.ts'

const AT = HEADROOM
const tcp: PacketFields = {
  source: '10.1.0.11',
  target: '10.1.0.21',
  protocol: TCP,
  partial: true,
  payload: payloadOf(20_000),
}

function portOf(slab: Slab, linkSize: number = ETHERNET): { port: Port; device: MemoryDevice } {
  const device = new MemoryDevice({ name: 'tap0', slab })
  return { device, port: new Port(device, linkSize, 1418) }
}

/** Reads, parses and takes over the offload, as the forwarder does. */
function read(slab: Slab, port: Port, frame: Frame): void {
  if (readFrame(port, AT, frame) <= 0) throw new Error('nothing read')
  if (parseFrame(slab.view, frame) !== DROP_NONE) throw new Error('not parsed')
  const reason = readOffload(slab.view, vnetAt(port, frame), frame, port.linkSize)
  if (reason !== DROP_NONE) throw new Error(`offload refused: ${reason}`)
  if (frame.isGso()) learnShape(slab.view, port, frame)
}

const linear = (slab: Slab, frame: Frame): Uint8Array => {
  linearize(slab.bytes, frame)
  return slab.bytes.slice(frame.at, frame.end())
}

const shape = fc.record({
  size: fc.integer({ min: 1, max: 65_000 }),
  gso: fc.constantFrom(100, 536, 1000, 1366, 1378, 8960),
  options: fc.constantFrom(0, 12),
  protocol: fc.constantFrom(TCP, UDP),
})

const fieldsOf = ({
  size,
  options,
  protocol,
}: {
  size: number
  options: number
  protocol: number
}): PacketFields => ({
  ...tcp,
  protocol,
  options: new Uint8Array(protocol === TCP ? options : 0).fill(1),
  payload: payloadOf(size, size),
})

t.test('any sequence of frames, whatever was guessed, is read as it was sent', async () => {
  const slab = memorySlab(1 << 19)
  fc.assert(
    fc.property(fc.array(shape, { minLength: 1, maxLength: 6 }), (shapes) => {
      const { port, device } = portOf(slab)
      const frame = new Frame()
      for (const one of shapes) {
        const fields = fieldsOf(one)
        device.push(concat(vnetOf(fields, one.gso), buildFrame(fields)))
        read(slab, port, frame)
        if (Buffer.compare(linear(slab, frame), buildFrame(fields)) !== 0)
          throw new Error('differs')
      }
    }),
    { numRuns: 150 },
  )
})

t.test('the second frame of a shape is scattered to where its segments are sealed', async (t) => {
  const slab = memorySlab(1 << 19)
  const { port, device } = portOf(slab)
  const frame = new Frame()
  const expected = segmentsOf(tcp, 1300).map(buildFrame)
  for (let i = 0; i < 2; i++) {
    device.push(concat(vnetOf(tcp, 1300), buildFrame(tcp)))
    read(slab, port, frame)
  }
  t.match(frame, {
    shape: SCATTERED,
    slotSize: 1300,
    headSize: 54 + 1300,
    gsoSize: 1300,
    packets: 16,
  })
  t.equal(frame.slotAt, AT + frame.stride + 54, 'behind room for the headers of segment 1')
  t.ok(frame.stride >= HEADROOM + 54 + 1300 + 16, 'with room for envelope and tag')
  expected.slice(1).forEach((segment, i) => {
    const at = frame.slotAt + i * frame.stride
    t.same(slab.bytes.slice(at, at + segment.length - 54), segment.subarray(54))
  })
})

t.test('shapes that are not worth scattering are not learnt', async (t) => {
  const slab = memorySlab(1 << 19)
  const { port, device } = portOf(slab)
  const frame = new Frame()
  const before = [port.headerSize, port.segmentSize]
  device.push(concat(vnetOf(tcp, 100), buildFrame(tcp)))
  read(slab, port, frame)
  t.same([port.headerSize, port.segmentSize], before, 'headers would not lie in one piece')
  device.push(concat(vnetOf(tcp, 300), buildFrame(tcp)))
  read(slab, port, frame)
  device.push(concat(vnetOf(tcp, 300), buildFrame(tcp)))
  read(slab, port, frame)
  t.equal(frame.shape, WHOLE, 'more slots than one read may have')
  t.equal(readFrame(port, AT, frame), -11, 'nothing there')
  device.push(new Uint8Array(10))
  t.equal(readFrame(port, AT, frame), 0, 'a header without a frame')
})

t.test('the largest frame fits whatever the guess', async (t) => {
  const slab = memorySlab(1 << 19)
  const { port, device } = portOf(slab)
  const frame = new Frame()
  const largest = new Uint8Array(10 + FRAME_MAX).fill(7)
  for (const segmentSize of [510, 600, 1366, 8960, 65_000]) {
    port.segmentSize = segmentSize
    slab.bytes.fill(0)
    device.push(largest)
    t.equal(readFrame(port, AT, frame), FRAME_MAX)
    t.same(linear(slab, frame), largest.subarray(10))
    t.ok(frame.extentEnd() < 1 << 18, 'in half the arena')
  }
})

t.test('delivered in pieces or in one, the device gets the same frame', async () => {
  const slab = memorySlab(1 << 19)
  const delivery = new Delivery(slab)
  fc.assert(
    fc.property(shape, fc.boolean(), (one, tun) => {
      const fields = fieldsOf(one)
      const linkSize = tun ? 0 : ETHERNET
      const source = portOf(slab)
      const target = portOf(slab, linkSize)
      const frame = new Frame()
      // Twice: the first teaches the shape.
      for (let i = 0; i < 2; i++) {
        source.device.push(concat(vnetOf(fields, one.gso), buildFrame(fields)))
        read(slab, source.port, frame)
        if (delivery.deliver(frame, target.port) !== DROP_NONE) throw new Error('refused')
        const whole = tun ? buildPacket(fields) : buildFrame(fields)
        const expected = concat(vnetOf(fields, one.gso, linkSize), whole)
        if (Buffer.compare(target.device.take()!, expected) !== 0) throw new Error('differs')
      }
    }),
    { numRuns: 200 },
  )
})

t.test('a frame merged from segments is the super-packet they were cut from', async () => {
  const slab = memorySlab(1 << 20)
  const delivery = new Delivery(slab)
  fc.assert(
    fc.property(shape, (one) => {
      const fields = fieldsOf({ ...one, size: Math.min(one.size, one.gso * 40) })
      const segments = segmentsOf(fields, one.gso).map(buildFrame)
      const { port, device } = portOf(slab)
      const frame = new Frame()
      const headerSize = segments[0]!.length - Math.min(one.gso, fields.payload!.length)
      let at = 64
      segments.forEach((segment, i) => {
        slab.bytes.set(segment, at)
        if (i === 0) {
          frame.setWhole(at, segment.length)
          if (parseFrame(slab.view, frame) !== DROP_NONE) throw new Error('not parsed')
        } else {
          frame.pieces[2 * i - 2] = at + headerSize
          frame.pieces[2 * i - 1] = segment.length - headerSize
        }
        at += segment.length + 40
      })
      // PSH and FIN of the last are the merger's business; here there are none.
      Object.assign(frame, { partial: true, shape: GATHERED, pieceCount: segments.length - 1 })
      frame.size = headerSize + fields.payload!.length
      const several = segments.length > 1
      if (several) frame.gsoSize = one.gso
      if (several) frame.gsoType = one.protocol === TCP ? 1 : 5
      if (delivery.deliver(frame, port) !== DROP_NONE) throw new Error('refused')
      const expected = concat(vnetOf(fields, several ? one.gso : 0), buildFrame(fields))
      if (Buffer.compare(device.take()!, expected) !== 0) throw new Error('differs')
    }),
    { numRuns: 150 },
  )
})

t.test('a device that refuses is a drop', async (t) => {
  const slab = memorySlab(1 << 19)
  const { port, device } = portOf(slab)
  const frame = new Frame()
  device.push(concat(vnetOf(tcp, 1300), buildFrame(tcp)))
  read(slab, port, frame)
  device.close()
  t.equal(new Delivery(slab).deliver(frame, port), DROP_DEVICE_REFUSED)
  linearize(slab.bytes, frame)
  t.equal(new Delivery(slab).deliver(frame, port), DROP_DEVICE_REFUSED)
})
