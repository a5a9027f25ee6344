// Connections by protocol and state: a cell each in memory that others may read while the loop
// runs. Templates are no connections and are not counted; tracked flows are.

import { SCTP, TCP, UDP } from './flow.ts'
import { SCTP_MACHINE } from './proto-sctp.ts'
import { TCP_MACHINE } from './proto-tcp.ts'
import { UDP_MACHINE } from './proto-udp.ts'

/** Cells of one protocol: as many as the longest list of states, rounded up. */
const PROTOCOL_CELLS = 16
export const STATE_COUNT_CELLS: number = 3 * PROTOCOL_CELLS

/** What each cell counts: protocol ("tcp") and state ("established"), and its index. */
export const STATE_COUNTS: readonly (readonly [string, string, number])[] = (
  [
    ['tcp', TCP, TCP_MACHINE],
    ['udp', UDP, UDP_MACHINE],
    ['sctp', SCTP, SCTP_MACHINE],
  ] as const
).flatMap(([name, protocol, machine]) =>
  machine.stateNames.map(
    (state, i) => [name, state.toLowerCase(), stateCell(protocol, i)] as const,
  ),
)

/** Index of the cell of a state. */
export function stateCell(protocol: number, state: number): number {
  return (protocol === TCP ? 0 : protocol === UDP ? PROTOCOL_CELLS : 2 * PROTOCOL_CELLS) + state
}
