// The envelope: what weft puts into an underlay UDP datagram on encrypted networks. All big-endian.
//
//   0       1                       4               8                               16
//   | type  | flags, zero           | receiver index| counter                       |
//   16                      24
//   | VXLAN header, sealed  | Ethernet frame, sealed ...               | tag (16)    |
//
// The receiver index names the receiver's session, so that the key is found before the sender's
// address is believed; the counter is the AEAD nonce and feeds the replay window. It is written as
// two 32-bit halves because 64 bits do not fit in a number; 2^53 datagrams of one key never happen
// (rekey is due at 2^27).
//
// The first byte tells the envelope from a plain VXLAN header on the same port: an RFC 7348 header
// starts with 0x08, and no type may ever be 8.

import { VXLAN_FLAGS } from './vxlan.ts'

export const ENVELOPE_HEADER_SIZE = 16
export const ENVELOPE_TAG_SIZE = 16

export const ENVELOPE_INITIATION = 1
export const ENVELOPE_RESPONSE = 2
export const ENVELOPE_COOKIE = 3
export const ENVELOPE_TRANSPORT = 4
/** Reserved: acknowledges a path MTU probe. */
export const ENVELOPE_PROBE_ACK = 5

const TYPE = 0
const TYPE_FLAGS = 0
const RECEIVER_INDEX = 4
const COUNTER = 8

/** True when [at, end) begins like an RFC 7348 header rather than like one of our messages. */
export function isPlainVxlan(view: DataView, at: number, end: number): boolean {
  return end > at && (view.getUint8(at) & VXLAN_FLAGS) !== 0
}

/** True when [at, end) has an envelope's four first bytes: a known type and zero flags. */
export function checkEnvelopeType(view: DataView, at: number, end: number): boolean {
  if (end - at < 4) return false
  const word = view.getUint32(at + TYPE_FLAGS)
  const type = word >>> 24
  return (word & 0xffffff) === 0 && type >= ENVELOPE_INITIATION && type <= ENVELOPE_PROBE_ACK
}

/** True when [at, end) holds a transport message: header and tag, whatever lies between. */
export function checkEnvelopeTransport(view: DataView, at: number, end: number): boolean {
  return (
    end - at >= ENVELOPE_HEADER_SIZE + ENVELOPE_TAG_SIZE &&
    view.getUint32(at + TYPE_FLAGS) === ENVELOPE_TRANSPORT << 24
  )
}

export function envelopeType(view: DataView, at: number): number {
  return view.getUint8(at + TYPE)
}

export function envelopeReceiverIndex(view: DataView, at: number): number {
  return view.getUint32(at + RECEIVER_INDEX)
}

/** The counter as a number, exact below 2^53. */
export function envelopeCounter(view: DataView, at: number): number {
  return view.getUint32(at + COUNTER) * 4294967296 + view.getUint32(at + COUNTER + 4)
}

/** Offset of the counter: where an AeadKey seals from and opens from. */
export function envelopeCounterAt(at: number): number {
  return at + COUNTER
}

export function setEnvelopeReceiverIndex(view: DataView, at: number, value: number): void {
  view.setUint32(at + RECEIVER_INDEX, value)
}

/** Writes the counter, an integer in 0 .. 2^53 - 1. */
export function setEnvelopeCounter(view: DataView, at: number, value: number): void {
  view.setUint32(at + COUNTER, Math.floor(value / 4294967296))
  view.setUint32(at + COUNTER + 4, value >>> 0)
}

/** Writes type, zero flags and receiver index: the eight bytes in front of the counter. */
export function writeEnvelope(view: DataView, at: number, type: number, index: number): void {
  view.setUint32(at + TYPE_FLAGS, type << 24)
  view.setUint32(at + RECEIVER_INDEX, index)
}
