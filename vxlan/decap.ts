// Decapsulation, in place: finds the frame in a datagram (layout in encap.ts). Nothing is moved or
// copied; the VNI and the inner flags are read from the VXLAN header in front of the frame
// (wire/vxlan.ts), which stands at the returned offset less VXLAN_HEADER_SIZE.

import {
  checkEnvelopeTransport,
  ENVELOPE_HEADER_SIZE,
  ENVELOPE_TAG_SIZE,
} from '../wire/envelope.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import { checkVxlan, VXLAN_HEADER_SIZE } from '../wire/vxlan.ts'
import { isControl } from './control.ts'

/** Too short for what it claims to be. */
export const DECAP_SHORT: number = -1
/** Neither a frame with a valid VNI nor a control message. */
export const DECAP_INVALID: number = -2
/** A control message: see control.ts. */
export const DECAP_CONTROL: number = -3

/** Bytes of a transport datagram of `size` bytes that AeadKey.open() decrypts, or a negative number
 * when it is too short to be one. */
export function openLength(size: number): number {
  return size - ENVELOPE_HEADER_SIZE - ENVELOPE_TAG_SIZE
}

/** Offset of what was sealed in the datagram at `at`: header of the frame, or control message. */
export function openedAt(at: number): number {
  return at + ENVELOPE_HEADER_SIZE
}

/** End of the frame in a sealed datagram that ends at `end`. */
export function frameEnd(end: number): number {
  return end - ENVELOPE_TAG_SIZE
}

/** Offset of the frame in the datagram [at, end), after AeadKey.open() succeeded on it, or a DECAP_
 * code. */
export function decapSealed(view: DataView, at: number, end: number): number {
  if (!checkEnvelopeTransport(view, at, end)) return DECAP_SHORT
  const inner = openedAt(at)
  const innerEnd = frameEnd(end)
  if (isControl(view, inner, innerEnd)) return DECAP_CONTROL
  return frameBehind(view, inner, innerEnd)
}

/** Offset of the frame in the RFC 7348 datagram [at, end), or a DECAP_ code. Reserved bits are
 * ignored, as section 5 demands of receivers. */
export function decapPlain(view: DataView, at: number, end: number): number {
  return frameBehind(view, at, end)
}

function frameBehind(view: DataView, header: number, end: number): number {
  if (end - header < VXLAN_HEADER_SIZE + ETHERNET_HEADER_SIZE) return DECAP_SHORT
  return checkVxlan(view, header, end) ? header + VXLAN_HEADER_SIZE : DECAP_INVALID
}
