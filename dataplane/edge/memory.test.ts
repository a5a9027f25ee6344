// Goal: the in-memory edges do what the kernel's do, and the fault injector and the capture around
// them what they say. Method: packets pushed through, both ends compared; captures are read back
// here and, where it is installed, by tcpdump.

import { execFileSync } from 'node:child_process'
import { readFileSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { manualClock } from '../../base/clock.ts'
import { prng } from '../../base/prng.ts'
import { memorySlab } from '../../base/slab.ts'
import { cutRanges, faultyDevice, faultySocket, gatherFrame } from './fault-injector.ts'
import { MemoryDevice, MemoryPoller, scatterFrame } from './memory.ts'
import { MemoryNetwork } from './memory-underlay.ts'
import { PcapWriter } from './pcap.ts'
import { captureDevice, captureUnderlay } from './pcap-edges.ts'

const slab = memorySlab(1 << 20)
const bytes = Buffer.from(slab.bytes.buffer)

function frame(size: number, fill: number): Uint8Array {
  return new Uint8Array(size).fill(fill)
}

t.test('a device: frames both ways, copies, errors as the kernel gives them', (t) => {
  const poller = new MemoryPoller()
  const device = new MemoryDevice({ name: 'tap0', slab, poller })
  poller.add(device.fd, 9)
  t.equal(poller.wait(0), 0)
  t.equal(device.read(0, 100), -11)
  const original = frame(60, 7)
  t.ok(device.push(original))
  original.fill(0)
  t.equal(poller.wait(-1), 1)
  t.equal(poller.token(0), 9)
  t.equal(device.readScatter(0, 20, 1000, 15, 50, 60), 60)
  t.strictSame(gatherFrame(slab, 60, 0, 20, 1000, 15, 50), frame(60, 7))
  t.equal(bytes[1015], 0, 'nothing between the slots')
  device.push(frame(60, 8))
  t.equal(device.read(0, 40), 40, 'cut off at the capacity, as a TAP does')

  t.equal(device.write(0, 10), -22, 'a header alone is no frame')
  bytes.fill(3, 0, 100)
  t.equal(device.writeGather(Int32Array.of(0, 10, 50, 20), 2), 30)
  bytes.fill(0, 0, 100)
  t.strictSame(device.take(), frame(30, 3))
  t.equal(device.take(), undefined)

  const other = new MemoryDevice({ name: 'tap1', slab })
  device.connect(other)
  bytes.fill(5, 0, 30)
  device.write(0, 30)
  t.equal(other.read(500, 100), 30)
  t.equal(bytes[529], 5)
  device.close()
  t.equal(device.read(0, 10), -9)
  t.end()
})

t.test('an underlay: segments are cut and merged, sources are known, limits hold', (t) => {
  const network = new MemoryNetwork()
  const receive = { at: 65536, count: 4, size: 65536 }
  const a = network.socket({ address: '10.0.0.1', port: 4789, slab, receive })
  const b = network.socket({ address: 'fd00:0::2', port: 4789, slab, receive })
  t.throws(() => network.socket({ address: 'fd00::2', port: 4789, slab, receive }), RangeError)
  const toB = a.endpoint('FD00::2', 4789)
  t.equal(a.describe(toB), '[fd00::2]:4789')
  t.equal(a.endpoint('fd00::2', 4789), toB)
  a.release(toB)

  for (let i = 0; i < 250; i++) bytes[i] = i
  const message = a.sending.begin(toB)
  a.sending.segment(message, 100)
  t.ok(a.sending.append(message, 0, 150))
  t.ok(a.sending.append(message, 150, 100))
  t.equal(a.sending.count, 1)
  t.equal(a.sending.flush(), 0)
  bytes.fill(0, 0, 250)
  t.equal(b.receiving.receive(), 1)
  t.equal(b.receiving.size(0), 250)
  t.equal(b.receiving.segmentSize(0), 100)
  t.equal(bytes[b.receiving.at(0) + 249], 249)
  const toA = b.endpoint('10.0.0.1', 4789)
  t.ok(b.receiving.from(0, toA))
  t.equal(b.receiving.source(0), toA)
  const source = new Uint8Array(18)
  b.receiving.sourceBytes(0, source)
  t.equal(Buffer.from(source).toString('hex'), `${'00'.repeat(10)}ffff0a00000112b5`)
  b.sending.append(b.sending.begin(toA), 0, 1)
  b.sending.flush()
  a.receiving.receive()
  a.receiving.sourceBytes(0, source)
  t.equal(Buffer.from(source).toString('hex'), `fd00${'00'.repeat(13)}0212b5`)
  b.retain(toA)
  b.release(toA)
  b.release(toA)
  t.equal(b.describe(toA), '10.0.0.1:4789', 'one reference is left')
  t.equal(b.receiving.receive(), 0)

  const nobody = a.endpoint('10.0.0.9', 1)
  a.sending.append(a.sending.begin(nobody), 0, 10)
  const tooLong = a.sending.begin(toB)
  t.notOk(a.sending.append(tooLong, 0, 65508), 'more than one UDP payload')
  const tooMany = a.sending.begin(toB)
  // The size was declared too late for append() to refuse.
  a.sending.append(tooMany, 0, 650)
  a.sending.segment(tooMany, 10)
  t.notOk(a.sending.append(tooMany, 650, 10))
  t.equal(a.sending.flush(), 1)
  t.equal(a.sending.lastError, 22)
  t.equal(network.lostCount, 1)

  network.move('10.0.0.1:4789', '10.0.0.7:5000')
  a.sending.append(a.sending.begin(toB), 0, 1)
  a.sending.flush()
  b.receiving.receive()
  t.notOk(b.receiving.from(0, toA))
  t.equal(b.describe(b.receiving.source(0)), '10.0.0.7:5000')
  for (let i = 0; i < 64; i++) t.equal(a.sending.begin(toB), i)
  t.equal(a.sending.begin(toB), -1, 'full')
  t.throws(() => a.release(999), RangeError)
  t.end()
})

t.test('scattering and gathering are inverse; ranges are cut without loss', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 2000 }),
      fc.nat(100),
      fc.integer({ min: 1, max: 200 }),
      fc.nat(50),
      (data, headSize, slotSize, gap) => {
        const stride = slotSize + gap
        const size = scatterFrame(slab, data, 0, headSize, 5000, slotSize, stride, 1000)
        if (size !== Math.min(data.length, headSize + 1000 * slotSize)) return false
        const back = gatherFrame(slab, size, 0, headSize, 5000, slotSize, stride)
        return Buffer.compare(back, data.subarray(0, size)) === 0
      },
    ),
  )
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 9 }),
      fc.nat(200),
      (lengths, size) => {
        const ranges = lengths.flatMap((length, i) => [i * 1000, length])
        const datagrams = cutRanges(ranges, size)
        const flat = datagrams.flat()
        const total = (list: number[]): number => {
          let sum = 0
          for (let i = 1; i < list.length; i += 2) sum += list[i]!
          return sum
        }
        const full = datagrams.slice(0, -1).every((datagram) => total(datagram) === size)
        return (
          full && total(flat) === total(ranges) && (size === 0 || total(datagrams.at(-1)!) <= size)
        )
      },
    ),
  )
  t.end()
})

/** Reads `count` numbered frames through a faulty device; returns the numbers in order. */
function readNumbers(seed: number, rates: Parameters<typeof faultyDevice>[2], count: number) {
  const inner = new MemoryDevice({ name: 'tap0', slab })
  const device = faultyDevice(inner, slab, rates, prng(seed))
  const numbers: number[] = []
  for (let i = 0; i < count; i++) {
    const numbered = new Uint8Array(64)
    new DataView(numbered.buffer).setUint32(12, i)
    inner.push(numbered)
    if (i % 50 !== 49) continue
    for (let size = device.read(0, 100); size !== -11; size = device.read(0, 100)) {
      numbers.push(slab.view.getUint32(12))
    }
  }
  return { numbers, faults: device.faults }
}

t.test('faults of a device: as many as asked for, the same for the same seed', (t) => {
  const count = 4000
  const { numbers, faults } = readNumbers(
    1,
    { loss: 0.1, duplication: 0.1, reordering: 0.1 },
    count,
  )
  for (const kind of ['lost', 'duplicated', 'reordered'] as const) {
    t.ok(faults[kind] > 300 && faults[kind] < 500, `${kind} ${faults[kind]}`)
  }
  t.equal(numbers.length, count - faults.lost + faults.duplicated, 'none vanished, none appeared')
  t.equal(new Set(numbers).size, count - faults.lost)
  const behind = numbers.filter((number, i) => i > 0 && number < numbers[i - 1]!).length
  t.ok(behind > 250, `${behind} came late`)
  const again = readNumbers(1, { loss: 0.1, duplication: 0.1, reordering: 0.1 }, count)
  t.strictSame(again.numbers, numbers)
  t.notSame(readNumbers(2, { loss: 0.1 }, count).numbers, numbers)
  const clean = readNumbers(3, {}, 100)
  t.strictSame(clean.numbers, [...Array(100).keys()])
  t.end()
})

t.test('faults of a socket: per datagram, flips one bit, cuts one short', (t) => {
  const network = new MemoryNetwork()
  const receive = { at: 65536, count: 8, size: 65536 }
  const inner = network.socket({ address: '10.0.0.1', port: 1, slab, receive })
  network.socket({ address: '10.0.0.2', port: 2, slab, receive })
  const seen: Uint8Array[] = []
  network.onDatagram = (datagram) => {
    seen.push(datagram)
    return undefined
  }
  const rates = { loss: 0.1, duplication: 0.1, reordering: 0.1, bitFlip: 0.1, truncation: 0.1 }
  const socket = faultySocket(inner, slab, rates, prng(42))
  const endpoint = socket.endpoint('10.0.0.2', 2)
  for (let round = 0; round < 200; round++) {
    bytes.fill(0, 0, 1000)
    for (let i = 0; i < 10; i++) slab.view.setUint32(i * 100, round * 10 + i)
    const message = socket.sending.begin(endpoint)
    socket.sending.segment(message, 100)
    socket.sending.append(message, 0, 450)
    socket.sending.append(message, 450, 550)
    t.equal(socket.sending.flush(), 0)
  }
  const { faults } = socket
  t.equal(seen.length, 2000 - faults.lost + faults.duplicated)
  t.equal(seen.filter((datagram) => datagram.length < 100).length, faults.truncated)
  const intact = (datagram: Uint8Array): boolean =>
    datagram.subarray(4).every((byte) => byte === 0) &&
    new DataView(datagram.buffer, datagram.byteOffset).getUint32(0) < 2000
  const whole = seen.filter((datagram) => datagram.length === 100)
  const flipped = whole.filter((datagram) => !intact(datagram)).length
  t.ok(flipped > faults.flipped * 0.8 && flipped <= faults.flipped, `${flipped} seen`)
  for (const [kind, count] of Object.entries(faults)) t.ok(count > 130, `${kind} ${count}`)
  t.end()
})

interface Captured {
  seconds: number
  nanoseconds: number
  packet: Buffer
}

function readPcap(path: string, linkType: number): Captured[] {
  const file = readFileSync(path)
  t.equal(file.readUInt32LE(0), 0xa1b23c4d)
  t.equal(file.readUInt32LE(20), linkType)
  const records: Captured[] = []
  for (let at = 24; at < file.length; ) {
    const size = file.readUInt32LE(at + 8)
    const packet = file.subarray(at + 16, at + 16 + size)
    t.equal(packet.length, size, 'whole')
    records.push({ seconds: file.readUInt32LE(at), nanoseconds: file.readUInt32LE(at + 4), packet })
    at += 16 + size
  }
  return records
}

t.test('capture of a device: every way in and out, without the vnet header', (t) => {
  const path = join(t.testdir({}), 'tap.pcap')
  const clock = manualClock(0, 1_700_000_000_123.5)
  const inner = new MemoryDevice({ name: 'tap0', slab })
  const device = captureDevice(inner, slab, new PcapWriter(path, 'ethernet', clock))
  const data = Uint8Array.from({ length: 310 }, (_, i) => i % 256)
  const plain = Buffer.from(data.subarray(10))
  inner.push(data)
  inner.push(data)
  t.equal(device.read(0, 400), 310)
  t.equal(device.readScatter(0, 40, 1000, 30, 77, 60), 310)
  t.equal(device.read(0, 400), -11)
  t.equal(readPcap(path, 1).length, 2, 'in the file as soon as there is nothing to read')
  bytes.set(data, 0)
  device.write(0, 310)
  device.writeGather(Int32Array.of(0, 4, 4, 200, 204, 106), 3)
  device.close()
  const records = readPcap(path, 1)
  t.equal(records.length, 4)
  for (const record of records) t.ok(record.packet.equals(plain))
  t.equal(records[0]!.seconds, 1_700_000_000)
  t.equal(records[0]!.nanoseconds, 123_500_000)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.end()
})

t.test('capture of the underlay: datagrams as tcpdump reads them', (t) => {
  const path = join(t.testdir({}), 'udp.pcap')
  const network = new MemoryNetwork()
  const receive = { at: 65536, count: 8, size: 65536 }
  const a = network.socket({ address: '10.0.0.1', port: 4789, slab, receive })
  const b = network.socket({ address: 'fd00::2', port: 4789, slab, receive })
  const writer = new PcapWriter(path, 'raw', manualClock(0, 1_700_000_000_000))
  const captured = captureUnderlay(a, slab, writer, '10.0.0.1')
  const far = captured.endpoint('10.0.0.2', 4790)
  const message = captured.sending.begin(far)
  captured.sending.segment(message, 100)
  captured.sending.append(message, 0, 150)
  captured.sending.append(message, 200, 100)
  captured.sending.flush()
  b.sending.append(b.sending.begin(b.endpoint('10.0.0.1', 4789)), 0, 33)
  b.sending.flush()
  t.equal(captured.receiving.receive(), 1)
  t.equal(captured.receiving.size(0), 33)
  captured.close()
  const sizes = readPcap(path, 101).map(({ packet }) => packet.length)
  t.strictSame(sizes, [128, 128, 78, 48 + 33])
  let text = ''
  try {
    text = execFileSync('tcpdump', ['-nvr', path], { encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    t.comment(`tcpdump did not look: ${(error as Error).message}`)
  }
  if (text !== '') {
    t.match(text, '10.0.0.1.4789 > 10.0.0.2.4790')
    t.match(text, 'fd00::2.4789')
    t.notMatch(text, /bad cksum|truncated/)
  }
  t.end()
})

t.test('a capture that cannot go on: counted, and the device works on', (t) => {
  const directory = t.testdir({})
  const clock = manualClock()
  const full = new PcapWriter('/dev/full', 'ethernet', clock)
  t.ok(full.begin(10))
  full.add(bytes, 0, 10)
  full.flush()
  t.equal(full.counters.failedCount, 1)
  t.notOk(full.begin(10))
  t.equal(full.counters.droppedCount, 1)
  full.close()
  t.throws(() => new PcapWriter(join(directory, 'none', 'x'), 'raw', clock), { code: 'SYSTEM' })
  symlinkSync('/dev/null', join(directory, 'link'))
  t.throws(() => new PcapWriter(join(directory, 'link'), 'raw', clock), { code: 'SYSTEM' })

  const big = new PcapWriter(join(directory, 'big'), 'raw', clock)
  for (let i = 0; i < 40; i++) {
    t.ok(big.begin(70_000))
    big.add(bytes, 0, 70_000)
  }
  big.close()
  const records = readPcap(join(directory, 'big'), 101)
  t.equal(records.length, 40)
  t.equal(records[39]!.packet.length, 65_600, 'cut at the snapshot size')
  t.end()
})
