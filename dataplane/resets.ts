// Segments that the node itself sends into a TCP flow. Resets, where its real server was taken from
// the tables: both ends learn at once that the flow is over, instead of waiting for a timeout (IPVS
// leaves them hanging). And keep-alive probes, where it has been idle for its whole timeout: a flow
// whose ends answer lives on (IPVS forgets it). The balancer wrote down the sequence numbers it saw
// last and builds the segments; this file builds the frame around them. The forwarder sends it.

import type { Slab } from '../base/slab.ts'
import type { Director } from '../ipvs-emulator/director.ts'
import {
  ETHERNET_HEADER_SIZE,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  setEthernetType,
} from '../wire/ethernet.ts'
import { DROP_NONE } from './drop-reasons.ts'
import { type Frame, parseFrame } from './frame.ts'

/** What is sent. */
export const RESET = 0
export const PROBE = 1

/** Writes the reset or probe of `connection` in `direction` as a frame at `at`, its MAC addresses
 * zero, and describes it in `frame`. False when there is nothing to send. */
export function writeFlowFrame(
  kind: number,
  slab: Slab,
  director: Director,
  connection: number,
  direction: number,
  at: number,
  frame: Frame,
): boolean {
  const { bytes, view } = slab
  const ip = at + ETHERNET_HEADER_SIZE
  const size =
    kind === RESET
      ? director.writeReset(connection, direction, view, ip)
      : director.writeProbe(connection, direction, view, ip)
  if (size <= 0) return false
  bytes.fill(0, at, at + ETHERNET_HEADER_SIZE)
  setEthernetType(view, at, view.getUint8(ip) >>> 4 === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6)
  frame.setWhole(at, ETHERNET_HEADER_SIZE + size)
  return parseFrame(view, frame) === DROP_NONE
}
