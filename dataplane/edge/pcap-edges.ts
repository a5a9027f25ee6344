// Edges that record what crosses them (pcap.ts): a device both ways, or the underlay both ways with
// its batches cut into the datagrams that were on the wire.
//
// The virtio-net header is left out, and with it "the checksum is not computed yet": frames of
// local origin show wrong checksums, as they do in tcpdump on any host with checksum offload.

import type { FrameDevice, ReceiveBatch, SendBatch, UnderlaySocket } from '../../base/device.ts'
import type { Slab } from '../../base/slab.ts'
import { VNET_HEADER_SIZE } from '../../wire/vnet.ts'
import { addressBytes, type Party, parseParty } from './address.ts'
import type { PcapWriter } from './pcap.ts'

class CapturedDevice implements FrameDevice {
  private readonly inner: FrameDevice
  private readonly bytes: Uint8Array
  private readonly writer: PcapWriter

  constructor(inner: FrameDevice, slab: Slab, writer: PcapWriter) {
    this.inner = inner
    this.bytes = slab.bytes
    this.writer = writer
  }

  get name(): string {
    return this.inner.name
  }

  get fd(): number {
    return this.inner.fd
  }

  read(at: number, capacity: number): number {
    const size = this.inner.read(at, capacity)
    if (size < 0) this.writer.flush()
    else if (size > VNET_HEADER_SIZE && this.writer.begin(size - VNET_HEADER_SIZE)) {
      this.writer.add(this.bytes, at + VNET_HEADER_SIZE, at + size)
    }
    return size
  }

  readScatter(
    at: number,
    headSize: number,
    slotAt: number,
    slotSize: number,
    stride: number,
    slotCount: number,
  ): number {
    const size = this.inner.readScatter(at, headSize, slotAt, slotSize, stride, slotCount)
    if (size < 0) this.writer.flush()
    else if (size > VNET_HEADER_SIZE && this.writer.begin(size - VNET_HEADER_SIZE)) {
      this.writer.add(this.bytes, at + VNET_HEADER_SIZE, at + Math.min(size, headSize))
      let remaining = size - headSize
      for (let slot = slotAt; remaining > 0; slot += stride) {
        this.writer.add(this.bytes, slot, slot + Math.min(slotSize, remaining))
        remaining -= slotSize
      }
    }
    return size
  }

  write(at: number, length: number): number {
    const written = this.inner.write(at, length)
    if (written > VNET_HEADER_SIZE && this.writer.begin(written - VNET_HEADER_SIZE)) {
      this.writer.add(this.bytes, at + VNET_HEADER_SIZE, at + length)
    }
    return written
  }

  writeGather(pieces: Int32Array, count: number): number {
    const written = this.inner.writeGather(pieces, count)
    if (written > VNET_HEADER_SIZE && this.writer.begin(written - VNET_HEADER_SIZE)) {
      let skip = VNET_HEADER_SIZE
      for (let k = 0; k < count; k++) {
        const at = pieces[2 * k]!
        const length = pieces[2 * k + 1]!
        const skipped = Math.min(skip, length)
        this.writer.add(this.bytes, at + skipped, at + length)
        skip -= skipped
      }
    }
    return written
  }

  close(): void {
    this.writer.close()
    this.inner.close()
  }
}

/** A device whose frames, both ways, are captured. A TAP wants link type ethernet, a TUN raw. */
export function captureDevice(inner: FrameDevice, slab: Slab, writer: PcapWriter): FrameDevice {
  return new CapturedDevice(inner, slab, writer)
}

const IPV4_UDP_SIZE = 28
const IPV6_UDP_SIZE = 48

/** IP and UDP headers as they were, or nearly: our own address is not known to a socket bound to
 * all of them, the hop limit is 64, and the UDP checksum is 0 (none, RFC 768 and 6935). */
function writeHeaders(source: Party, target: Party, payloadSize: number): Buffer {
  const six = source.bytes.length === 16 || target.bytes.length === 16
  const header = Buffer.alloc(six ? IPV6_UDP_SIZE : IPV4_UDP_SIZE)
  const udpSize = 8 + payloadSize
  if (six) {
    header[0] = 0x60
    header.writeUInt16BE(udpSize & 0xffff, 4)
    header[6] = 17
    header[7] = 64
    if (source.bytes.length === 16) header.set(source.bytes, 8)
    if (target.bytes.length === 16) header.set(target.bytes, 24)
  } else {
    header[0] = 0x45
    header.writeUInt16BE((20 + udpSize) & 0xffff, 2)
    header[8] = 64
    header[9] = 17
    header.set(source.bytes, 12)
    header.set(target.bytes, 16)
    let sum = 0
    for (let at = 0; at < 20; at += 2) sum += header.readUInt16BE(at)
    sum = (sum & 0xffff) + (sum >>> 16)
    header.writeUInt16BE(~(sum + (sum >>> 16)) & 0xffff, 10)
  }
  const udp = header.length - 8
  header.writeUInt16BE(source.port, udp)
  header.writeUInt16BE(target.port, udp + 2)
  header.writeUInt16BE(udpSize & 0xffff, udp + 4)
  return header
}

/** Records datagrams [at, length, at, length, ...] of one message. */
function recordMessage(
  writer: PcapWriter,
  bytes: Uint8Array,
  ranges: readonly number[],
  segmentSize: number,
  source: Party,
  target: Party,
): void {
  let total = 0
  for (let i = 1; i < ranges.length; i += 2) total += ranges[i]!
  let range = 0
  let used = 0
  for (let done = 0; done < total || done === 0; ) {
    const size = Math.min(segmentSize === 0 ? total : segmentSize, total - done)
    const header = writeHeaders(source, target, size)
    const recording = writer.begin(header.length + size)
    if (recording) writer.add(header, 0, header.length)
    for (let left = size; left > 0; ) {
      const at = ranges[range]! + used
      const length = Math.min(left, ranges[range + 1]! - used)
      if (recording) writer.add(bytes, at, at + length)
      left -= length
      used += length
      if (used === ranges[range + 1]!) {
        range += 2
        used = 0
      }
    }
    done += size
    if (total === 0) break
  }
}

class CapturedSendBatch implements SendBatch {
  private readonly inner: SendBatch
  private readonly record: (endpoint: number, segmentSize: number, ranges: number[]) => void
  private messages: { endpoint: number; segmentSize: number; ranges: number[] }[] = []

  constructor(
    inner: SendBatch,
    record: (endpoint: number, segmentSize: number, ranges: number[]) => void,
  ) {
    this.inner = inner
    this.record = record
  }

  get count(): number {
    return this.inner.count
  }

  get lastError(): number {
    return this.inner.lastError
  }

  begin(endpoint: number): number {
    const message = this.inner.begin(endpoint)
    if (message >= 0) this.messages[message] = { endpoint, segmentSize: 0, ranges: [] }
    return message
  }

  append(message: number, at: number, length: number): boolean {
    const appended = this.inner.append(message, at, length)
    if (appended) this.messages[message]!.ranges.push(at, length)
    return appended
  }

  segment(message: number, segmentSize: number): void {
    this.inner.segment(message, segmentSize)
    this.messages[message]!.segmentSize = segmentSize
  }

  flush(): number {
    for (const { endpoint, segmentSize, ranges } of this.messages) {
      this.record(endpoint, segmentSize, ranges)
    }
    this.messages = []
    return this.inner.flush()
  }
}

/** A socket whose datagrams, both ways, are captured as IP packets (link type raw); batches are cut
 * into the datagrams that were on the wire. `localAddress` stands for this node's end. */
export function captureUnderlay(
  inner: UnderlaySocket,
  slab: Slab,
  writer: PcapWriter,
  localAddress: string,
): UnderlaySocket {
  const local: Party = { bytes: addressBytes(localAddress), port: inner.port }
  const receiving: ReceiveBatch = {
    capacity: inner.receiving.capacity,
    receive(): number {
      const count = inner.receiving.receive()
      if (count <= 0) writer.flush()
      for (let i = 0; i < count; i++) {
        const endpoint = inner.receiving.source(i)
        if (endpoint < 0) continue
        const source = parseParty(inner.describe(endpoint))
        inner.release(endpoint)
        const ranges = [inner.receiving.at(i), inner.receiving.size(i)]
        recordMessage(writer, slab.bytes, ranges, inner.receiving.segmentSize(i), source, local)
      }
      return count
    },
    at: (i) => inner.receiving.at(i),
    size: (i) => inner.receiving.size(i),
    segmentSize: (i) => inner.receiving.segmentSize(i),
    from: (i, endpoint) => inner.receiving.from(i, endpoint),
    source: (i) => inner.receiving.source(i),
    sourceBytes: (i, out) => inner.receiving.sourceBytes(i, out),
  }
  const sending = new CapturedSendBatch(inner.sending, (endpoint, segmentSize, ranges) => {
    const target = parseParty(inner.describe(endpoint))
    recordMessage(writer, slab.bytes, ranges, segmentSize, local, target)
  })
  return {
    fd: inner.fd,
    port: inner.port,
    sending,
    receiving,
    endpoint: (address, port) => inner.endpoint(address, port),
    retain: (endpoint) => inner.retain(endpoint),
    release: (endpoint) => inner.release(endpoint),
    describe: (endpoint) => inner.describe(endpoint),
    close(): void {
      writer.close()
      inner.close()
    },
  }
}
