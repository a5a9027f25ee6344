// What bounds the control plane's gRPC: sizes, times, connections.

/** One gRPC message, either way: gRPC's own usual limit, and Swarm's. */
export const MESSAGE_BYTES_MAX: number = 4 * 1024 * 1024

/** HTTP/2 window of one call: a link of 1 Gbit/s and 30 ms is kept full. */
export const FLOW_WINDOW_BYTES: number = 4 * 1024 * 1024

/** Calls at a time on one connection. */
export const CALLS_PER_CONNECTION_MAX = 1_024

/** What HTTP/2 may hold for one connection before it refuses further calls, in megabytes. */
export const SESSION_MEMORY_MB = 64

/** A connection without calls is closed after this long. */
export const CONNECTION_IDLE_MS = 300_000

/** A silent connection is asked for a sign of life after this long, and given up when none comes
 * within the timeout: a peer that vanished without a word is noticed within their sum. */
export const KEEPALIVE_MS = 2_000
export const KEEPALIVE_TIMEOUT_MS = 3_000

/** A server asks its callers less often: who calls watches the connection, and a node's heartbeats
 * tell more. With a thousand nodes these questions would be a third of all messages. */
export const SERVER_KEEPALIVE_MS = 20_000

/** Certificates of callers whose parsed form is kept. A cluster's nodes and their renewals fit. */
export const PEERS_REMEMBERED_MAX = 4_096

/** How long calls may take to end by themselves when the server is closed. */
export const CLOSE_GRACE_MS = 1_000

/** A connection that is cut has this long to take the answers to its last calls. */
export const CUT_GRACE_MS = 250
