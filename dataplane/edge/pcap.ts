// Packet capture: a pcap file (nanosecond variant, the format of libpcap's savefiles) of what
// crosses a device or the underlay. pcap-edges.ts wraps the edges; without a capture there is no
// wrapper, so it costs nothing when off.
//
// A record is copied into a bounded buffer; the buffer goes to the file when it is half full and
// when the edge has nothing more to read. A file that cannot take more (a pipe whose reader is
// slow) loses records, which is counted; a file that fails ends the capture, which is counted too.
// The packet loop goes on in either case. Files hold other people's traffic: mode 0600, never
// through a symbolic link.
//
//     file header:   magic(4) version 2.4 (2+2) zone(4) accuracy(4) snapshot size(4) link type(4)
//     record header: seconds(4) nanoseconds(4) captured size(4) real size(4)

import { closeSync, constants, openSync, writeSync } from 'node:fs'
import type { Clock } from '../../base/clock.ts'
import { EdgeError } from './errors.ts'
import { PCAP_BUFFER_SIZE, PCAP_SNAPSHOT_SIZE } from './limits.ts'

const MAGIC_NANOSECONDS = 0xa1b23c4d
const RECORD_HEADER_SIZE = 16
const LINK_TYPES = { ethernet: 1, raw: 101 } as const

export type LinkType = keyof typeof LINK_TYPES

export interface PcapCounters {
  recordedCount: number
  /** Packets that found the buffer full or the capture ended. */
  droppedCount: number
  /** 1 once the file failed and the capture ended. */
  failedCount: number
}

export class PcapWriter {
  readonly linkType: LinkType
  readonly counters: PcapCounters = { recordedCount: 0, droppedCount: 0, failedCount: 0 }
  private fd: number
  private readonly clock: Clock
  private readonly buffer: Buffer = Buffer.allocUnsafeSlow(PCAP_BUFFER_SIZE)
  private filled = 0
  private recordEnd = 0

  /** Creates or empties `path`. Throws EdgeError SYSTEM when it cannot. */
  constructor(path: string, linkType: LinkType, clock: Clock) {
    this.linkType = linkType
    this.clock = clock
    try {
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW, O_NONBLOCK } = constants
      this.fd = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    } catch (cause) {
      const what = `capture file ${path} cannot be opened: ${(cause as Error).message}`
      throw new EdgeError('SYSTEM', path, what, 'name a file that can be written', cause)
    }
    this.buffer.writeUInt32LE(MAGIC_NANOSECONDS, 0)
    this.buffer.writeUInt16LE(2, 4)
    this.buffer.writeUInt16LE(4, 6)
    this.buffer.writeUInt32LE(0, 8)
    this.buffer.writeUInt32LE(0, 12)
    this.buffer.writeUInt32LE(PCAP_SNAPSHOT_SIZE, 16)
    this.buffer.writeUInt32LE(LINK_TYPES[linkType], 20)
    this.filled = 24
  }

  /** Begins a record of a packet of `size` bytes; add() its bytes next. Returns false, and counts,
   * when it cannot be recorded: then do not add. */
  begin(size: number): boolean {
    const captured = Math.min(size, PCAP_SNAPSHOT_SIZE)
    const needed = RECORD_HEADER_SIZE + captured
    if (this.filled > PCAP_BUFFER_SIZE / 2) this.flush()
    if (this.fd < 0 || this.filled + needed > PCAP_BUFFER_SIZE) {
      this.counters.droppedCount++
      return false
    }
    const nowMs = this.clock.wallMs()
    const seconds = Math.floor(nowMs / 1000)
    this.buffer.writeUInt32LE(seconds, this.filled)
    this.buffer.writeUInt32LE(Math.floor((nowMs - seconds * 1000) * 1e6), this.filled + 4)
    this.buffer.writeUInt32LE(captured, this.filled + 8)
    this.buffer.writeUInt32LE(size, this.filled + 12)
    this.filled += RECORD_HEADER_SIZE
    this.recordEnd = this.filled + captured
    this.counters.recordedCount++
    return true
  }

  /** Adds [at, end) of `bytes` to the record begun; what is beyond its size is left out. */
  add(bytes: Uint8Array, at: number, end: number): void {
    const length = Math.min(end - at, this.recordEnd - this.filled)
    if (length <= 0) return
    this.buffer.set(bytes.subarray(at, at + length), this.filled)
    this.filled += length
  }

  /** Writes the buffer to the file, as much as that takes now. */
  flush(): void {
    if (this.fd < 0 || this.filled === 0) return
    try {
      const written = writeSync(this.fd, this.buffer, 0, this.filled)
      this.buffer.copyWithin(0, written, this.filled)
      this.filled -= written
    } catch (error) {
      // A pipe that is full: its reader may catch up.
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return
      this.counters.failedCount++
      this.filled = 0
      this.close()
    }
  }

  /** Flushes and closes. */
  close(): void {
    if (this.fd < 0) return
    const { fd } = this
    this.flush()
    this.fd = -1
    closeSync(fd)
  }
}
