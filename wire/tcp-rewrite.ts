// Changes to a TCP header on its way, each with the checksum mended by the difference (RFC 1624).
// With `partial` the checksum field holds the pseudo header's sum alone, of which none of this is
// part, and it stays. All of it is for a header that has passed checkTcp().

import { sumBytes, updateChecksum16, updateChecksum32 } from './checksum.ts'
import {
  setTcpChecksum,
  setTcpWindow,
  TCP_HEADER_SIZE,
  TCP_OPTION_END,
  TCP_OPTION_NOP,
  TCP_OPTION_SACK,
  tcpChecksum,
  tcpHeaderSize,
  tcpOption,
  tcpWindow,
} from './tcp.ts'

const SEQUENCE = 4
const ACKNOWLEDGEMENT = 8

/** Gives the segment another sequence number (any 32-bit integer). */
export function rewriteTcpSequence(
  view: DataView,
  at: number,
  sequence: number,
  partial: boolean,
): void {
  rewriteWord(view, at, SEQUENCE, sequence, partial)
}

/** Gives the segment another acknowledgement number (any 32-bit integer). */
export function rewriteTcpAcknowledgement(
  view: DataView,
  at: number,
  acknowledgement: number,
  partial: boolean,
): void {
  rewriteWord(view, at, ACKNOWLEDGEMENT, acknowledgement, partial)
}

function rewriteWord(
  view: DataView,
  at: number,
  field: number,
  value: number,
  partial: boolean,
): void {
  const before = view.getInt32(at + field)
  view.setInt32(at + field, value)
  if (!partial) setTcpChecksum(view, at, updateChecksum32(tcpChecksum(view, at), before, value))
}

/** Gives the segment another window field, 0 to 65535. */
export function rewriteTcpWindow(
  view: DataView,
  at: number,
  window: number,
  partial: boolean,
): void {
  const before = tcpWindow(view, at)
  setTcpWindow(view, at, window)
  if (!partial) setTcpChecksum(view, at, updateChecksum16(tcpChecksum(view, at), before, window))
}

/** Adds `by` to both edges of every block of the SACK option (RFC 2018 section 3), if there is
 * one. */
export function moveTcpSack(view: DataView, at: number, by: number, partial: boolean): void {
  const option = tcpOption(view, at, TCP_OPTION_SACK)
  if (option < 0) return
  const before = optionsSum(view, at)
  const end = option + view.getUint8(option + 1)
  for (let edge = option + 2; edge + 4 <= end; edge += 4) {
    view.setInt32(edge, (view.getInt32(edge) + by) | 0)
  }
  if (!partial) mendOptions(view, at, before)
}

/** Writes NOPs over all options whose kind is not among `kept`, a set of kinds below 32 by bits.
 * Malformed options end the walk. Returns true when something was written over. */
export function blankTcpOptions(
  view: DataView,
  at: number,
  kept: number,
  partial: boolean,
): boolean {
  const end = at + tcpHeaderSize(view, at)
  const before = optionsSum(view, at)
  let changed = false
  let option = at + TCP_HEADER_SIZE
  while (option < end) {
    const kind = view.getUint8(option)
    if (kind === TCP_OPTION_END) break
    if (kind === TCP_OPTION_NOP) {
      option++
      continue
    }
    if (end - option < 2) break
    const size = view.getUint8(option + 1)
    if (size < 2 || size > end - option) break
    if (kind >= 32 || (kept & (1 << kind)) === 0) {
      for (let i = 0; i < size; i++) view.setUint8(option + i, TCP_OPTION_NOP)
      changed = true
    }
    option += size
  }
  if (changed && !partial) mendOptions(view, at, before)
  return changed
}

/** Nothing aligns options, so a change is measured over all of them, which begin at an even
 * place. */
function optionsSum(view: DataView, at: number): number {
  return sumBytes(view, at + TCP_HEADER_SIZE, at + tcpHeaderSize(view, at), 0)
}

function mendOptions(view: DataView, at: number, before: number): void {
  const check = tcpChecksum(view, at)
  setTcpChecksum(view, at, updateChecksum16(check, before, optionsSum(view, at)))
}
