// Why schedule() or insertTracked() made no connection: negative numbers, so that a connection
// handle (>= 0) and a verdict share one return value. Each has its counter in Director.refused.

/** No service, or the packet is one this module does not balance (not TCP, UDP or SCTP). */
export const NOT_BALANCED: number = -1
/** Every real server is absent, has weight 0 or is over its threshold: answer ICMP port
 * unreachable. */
export const NO_DESTINATION: number = -2
/** The connection table is full and nothing in it may be evicted. */
export const TABLE_FULL: number = -3
/** A TCP segment without SYN (or SCTP chunk other than INIT) for which no connection exists. */
export const NOT_SYN: number = -4
/** No source port is left to tell this flow's replies from another's. */
export const NO_PORT: number = -5
/** A fragment other than the first: ports unknown. */
export const LATER_FRAGMENT: number = -6
/** Header truncated. */
export const MALFORMED: number = -7
/** Dropped by the drop_packet defence. */
export const DEFENCE: number = -8
/** This very flow exists already. */
export const DUPLICATE: number = -9

/** Name of verdict v is VERDICT_NAMES[-v]; used as metric label. */
export const VERDICT_NAMES: readonly string[] = [
  'ok',
  'not-balanced',
  'no-destination',
  'table-full',
  'not-syn',
  'no-port',
  'later-fragment',
  'malformed',
  'defence',
  'duplicate',
]
