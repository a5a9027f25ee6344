// Sealed control messages: what two nodes tell each other under a transport key, in the place where
// a VXLAN header and a frame would stand. A VXLAN header begins with 0x08 (the I bit); a control
// message begins with zero, so the first byte tells them apart.
//
//     0       1       2               4
//     | 0     | kind  | size          | padding, zero ...                     |
//
// KEEPALIVE   size 0, nothing behind it
// PROBE       size = bytes of the whole UDP payload, padding fills it up (path-mtu.ts)
// PROBE_ACK   size = the size of the probe that arrived, nothing behind it
//
// As everything is authenticated, a kind that we do not know comes from a newer version: it is
// ignored.

import { ENVELOPE_HEADER_SIZE, ENVELOPE_TAG_SIZE } from '../wire/envelope.ts'

export const CONTROL_KEEPALIVE = 0
export const CONTROL_PROBE = 1
export const CONTROL_PROBE_ACK = 2

export const CONTROL_HEADER_SIZE = 4

/** Bytes that a control message gains on its way into a UDP payload. */
export const CONTROL_OVERHEAD: number = ENVELOPE_HEADER_SIZE + ENVELOPE_TAG_SIZE

const MARK = 0
const KIND = 1
const SIZE = 2

/** True when the opened payload [at, end) is a control message and not a frame. */
export function isControl(view: DataView, at: number, end: number): boolean {
  return end - at >= CONTROL_HEADER_SIZE && view.getUint8(at + MARK) === 0
}

export function controlKind(view: DataView, at: number): number {
  return view.getUint8(at + KIND)
}

export function controlSize(view: DataView, at: number): number {
  return view.getUint16(at + SIZE)
}

/** Writes a keep-alive at `at`. Returns the payload's length. */
export function writeKeepalive(view: DataView, at: number): number {
  view.setUint32(at, CONTROL_KEEPALIVE << 16)
  return CONTROL_HEADER_SIZE
}

/** Writes a probe that becomes a UDP payload of `size` bytes, at most 65535, once it is sealed.
 * Returns the payload's length before that. */
export function writeProbe(view: DataView, at: number, size: number): number {
  const length = size - CONTROL_OVERHEAD
  view.setUint32(at, (CONTROL_PROBE << 16) | size)
  for (let i = at + CONTROL_HEADER_SIZE; i < at + length; i++) view.setUint8(i, 0)
  return length
}

/** Writes the acknowledgement of a probe of `size` bytes. Returns the payload's length. */
export function writeProbeAck(view: DataView, at: number, size: number): number {
  view.setUint32(at, (CONTROL_PROBE_ACK << 16) | size)
  return CONTROL_HEADER_SIZE
}

/** True when [at, end), opened, is a probe whose stated size is that of the datagram it came in. */
export function isWholeProbe(view: DataView, at: number, end: number): boolean {
  return (
    controlKind(view, at) === CONTROL_PROBE && controlSize(view, at) === end - at + CONTROL_OVERHEAD
  )
}
