// TCP header, RFC 9293 section 3.1.
//
//   0               2               4                               8
//   | source port   | target port   | sequence number               |
//   8                               12  13      14              16
//   | acknowledgement number        |off| flags | window        |
//   16              18              20
//   | checksum      | urgent        | options, to data offset * 4 ...
//
// Sequence numbers are unsigned 32-bit numbers and compare modulo 2^32: see sequenceBefore().
// Building resets is in tcp-reset.ts.

import { updateChecksum16 } from './checksum.ts'

/** Size without options; the size of a header at hand is tcpHeaderSize(). */
export const TCP_HEADER_SIZE = 20
/** Offset of the checksum in the header: the csum_offset of a virtio-net header. */
export const TCP_CHECKSUM_OFFSET = 16

export const TCP_FIN = 0x01
export const TCP_SYN = 0x02
export const TCP_RST = 0x04
export const TCP_PSH = 0x08
export const TCP_ACK = 0x10
export const TCP_URG = 0x20
export const TCP_ECE = 0x40
export const TCP_CWR = 0x80

export const TCP_OPTION_END = 0
export const TCP_OPTION_NOP = 1
export const TCP_OPTION_MSS = 2
export const TCP_OPTION_WINDOW_SCALE = 3
export const TCP_OPTION_SACK_PERMITTED = 4
export const TCP_OPTION_SACK = 5
export const TCP_OPTION_TIMESTAMPS = 8

const SOURCE_PORT = 0
const TARGET_PORT = 2
const SEQUENCE = 4
const ACKNOWLEDGEMENT = 8
const DATA_OFFSET = 12
const FLAGS = 13
const WINDOW = 14
const CHECKSUM = TCP_CHECKSUM_OFFSET
const URGENT = 18

/** True when [at, end) holds a whole header, options included. */
export function checkTcp(view: DataView, at: number, end: number): boolean {
  if (end - at < TCP_HEADER_SIZE) return false
  const headerSize = (view.getUint8(at + DATA_OFFSET) >>> 4) * 4
  return headerSize >= TCP_HEADER_SIZE && headerSize <= end - at
}

export function tcpSourcePort(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE_PORT)
}

export function tcpTargetPort(view: DataView, at: number): number {
  return view.getUint16(at + TARGET_PORT)
}

export function tcpSequence(view: DataView, at: number): number {
  return view.getUint32(at + SEQUENCE)
}

export function tcpAcknowledgement(view: DataView, at: number): number {
  return view.getUint32(at + ACKNOWLEDGEMENT)
}

/** Header bytes, options included: 20 to 60. */
export function tcpHeaderSize(view: DataView, at: number): number {
  return (view.getUint8(at + DATA_OFFSET) >>> 4) * 4
}

/** TCP_* bits. */
export function tcpFlags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS)
}

/** True for a segment by which a client opens a connection. */
export function opensTcp(view: DataView, at: number): boolean {
  return (tcpFlags(view, at) & (TCP_SYN | TCP_ACK | TCP_RST)) === TCP_SYN
}

export function tcpWindow(view: DataView, at: number): number {
  return view.getUint16(at + WINDOW)
}

export function tcpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM)
}

export function tcpUrgent(view: DataView, at: number): number {
  return view.getUint16(at + URGENT)
}

export function setTcpSourcePort(view: DataView, at: number, value: number): void {
  view.setUint16(at + SOURCE_PORT, value)
}

export function setTcpTargetPort(view: DataView, at: number, value: number): void {
  view.setUint16(at + TARGET_PORT, value)
}

export function setTcpSequence(view: DataView, at: number, value: number): void {
  view.setUint32(at + SEQUENCE, value)
}

export function setTcpAcknowledgement(view: DataView, at: number, value: number): void {
  view.setUint32(at + ACKNOWLEDGEMENT, value)
}

/** Sets the data offset; `size` is a multiple of four, 20 to 60. Clears the reserved bits. */
export function setTcpHeaderSize(view: DataView, at: number, size: number): void {
  view.setUint8(at + DATA_OFFSET, size << 2)
}

export function setTcpFlags(view: DataView, at: number, value: number): void {
  view.setUint8(at + FLAGS, value)
}

export function setTcpWindow(view: DataView, at: number, value: number): void {
  view.setUint16(at + WINDOW, value)
}

export function setTcpChecksum(view: DataView, at: number, value: number): void {
  view.setUint16(at + CHECKSUM, value)
}

export function setTcpUrgent(view: DataView, at: number, value: number): void {
  view.setUint16(at + URGENT, value)
}

/** True when sequence number `a` comes before `b`, modulo 2^32 (RFC 9293 section 3.4). */
export function sequenceBefore(a: number, b: number): boolean {
  return ((a - b) | 0) < 0
}

/** Offset of the first option of kind `kind` (its kind byte), or -1 when there is none or the
 * options are malformed before it. The option lies wholly inside the header. */
export function tcpOption(view: DataView, at: number, kind: number): number {
  const end = at + tcpHeaderSize(view, at)
  let option = at + TCP_HEADER_SIZE
  while (option < end) {
    const found = view.getUint8(option)
    if (found === TCP_OPTION_END) return -1
    if (found === TCP_OPTION_NOP) {
      option++
      continue
    }
    if (end - option < 2) return -1
    const size = view.getUint8(option + 1)
    if (size < 2 || size > end - option) return -1
    if (found === kind) return option
    option += size
  }
  return -1
}

/** Offset of the 16-bit value of the MSS option (RFC 9293 section 3.7.1), or -1. */
export function tcpMssAt(view: DataView, at: number): number {
  const option = tcpOption(view, at, TCP_OPTION_MSS)
  return option >= 0 && view.getUint8(option + 1) === 4 ? option + 2 : -1
}

/** Lowers the MSS option to `mssMax` when it is larger. With `partial` the checksum field holds
 * only the pseudo header's sum and stays; otherwise it is mended. Returns true when the segment
 * was changed. */
export function clampTcpMss(view: DataView, at: number, mssMax: number, partial: boolean): boolean {
  const mssAt = tcpMssAt(view, at)
  if (mssAt < 0) return false
  const before = view.getUint16(mssAt)
  if (before <= mssMax) return false
  view.setUint16(mssAt, mssMax)
  if (partial) return true
  const check = view.getUint16(at + CHECKSUM)
  // Nothing aligns options: at an odd place the value straddles two words of the sum, which then
  // has its bytes the other way round (RFC 1071 section 2 (B)).
  const odd = ((mssAt - at) & 1) !== 0
  view.setUint16(
    at + CHECKSUM,
    updateChecksum16(check, odd ? swap16(before) : before, odd ? swap16(mssMax) : mssMax),
  )
  return true
}

function swap16(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8)
}
