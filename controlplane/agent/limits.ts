// What bounds an agent: times, sizes, counts.

// Specification: SwarmKit's numbers (agent/agent.go, agent/session.go) and Docker's defaults.

/** Delay before the second try to reach a manager; it doubles up to the maximum. */
export const RECONNECT_MS_MIN = 100
export const RECONNECT_MS_MAX = 8_000
/** A unary call that takes longer has failed. */
export const CALL_TIMEOUT_MS = 5_000
/** How often the node's description is looked at anew. */
export const DESCRIBE_MS = 20_000
/** Stop grace period of a task that names none. */
export const STOP_GRACE_MS = 10_000

// Implementation: ours to change.

/** As long as a leader is being elected, tries are this close together: this many of them. A
 * cluster has a new leader within two seconds, and its nodes should be with it a moment later. */
export const FAST_TRIES = 8
export const FAST_RETRY_MS = 250
/** A session that lasted so long was one; the next tries are fast ones again. */
export const STEADY_SESSION_MS = 10_000
/** A try that took longer than this met somebody who is busy. */
export const SLOW_TRY_MS = 1_000
/** A heartbeat that a manager leaves unanswered for so long ends the session, if its tunnel is
 * silent as well. */
export const DOUBT_MS = 300
/** HTTP/2 pings on a connection whose heartbeats are answered each second, or end it. */
export const SESSION_KEEPALIVE_MS = 20_000
/** A connection attempt to one manager. A dead host must not keep us from the next manager. */
export const CONNECT_TIMEOUT_MS = 2_000
/** How long a task waits for secrets and configs that its node's assignment does not have: they
 * come with it, if not in the same message. */
export const DEPENDENCIES_MS_MAX = 10_000
/** How long a task that is to be stopped waits for all nodes to give it no new flows. */
export const QUIET_MS_MAX = 10_000
/** A draining task is stopped after this long whatever is open, or after its stop grace period
 * where that is shorter. */
export const DRAIN_MS_MAX = 10_000
/** Longest time that a service's `weft.drain-timeout` may ask for: an hour. */
export const DRAIN_LABEL_MS_MAX = 3_600_000
/** A step of a task that failed for a passing reason is tried again after this long, doubling. */
export const RETRY_MS_MIN = 1_000
export const RETRY_MS_MAX = 30_000
/** Status updates wait this long for company. */
export const STATUS_DELAY_MS = 10
/** Updates in one message: with the largest status it stays below gRPC's limit. */
export const STATUS_BATCH_MAX = 256
/** Longest error or message of a status, characters: the rest is cut. */
export const STATUS_TEXT_MAX = 2_048
/** Items of one assignment: 64 networks of 30,000 endpoints would be too many for the data plane
 * anyway. */
export const ITEMS_MAX = 500_000
/** Changes of the tables wait this long for company, and while they come one after another this
 * many times as long as the last version took, but no longer than the maximum. */
export const TABLES_DELAY_MS = 10
export const TABLES_DELAY_FACTOR = 4
export const TABLES_DELAY_MS_MAX = 50
/** Tables that the data plane refused are tried again after this long, doubling. */
export const TABLES_RETRY_MS_MIN = 500
export const TABLES_RETRY_MS_MAX = 15_000
/** How many bad items are taken out of one version of the tables before it is given up. */
export const TABLES_REPAIRS_MAX = 100
/** While a backend drains, its flows are told to the manager this often. */
export const DRAIN_REPORT_MS = 200
/** Log lines of one message, and their bytes. */
export const LOG_BATCH_LINES = 200
export const LOG_BATCH_BYTES: number = 256 * 1024
/** Longest log line that is sent; the rest of it is cut. */
export const LOG_LINE_BYTES_MAX: number = 256 * 1024
/** Log subscriptions served at a time, and log streams of tasks over all of them. */
export const LOG_SUBSCRIPTIONS_MAX = 64
/** Keep-alive between a node behind NAT and its peers: WireGuard's figure, below the 30 s after
 * which the common NATs forget a UDP mapping. */
export const KEEPALIVE_SECONDS = 25
/** How often the counters of the tunnels are looked at; a look that comes later than that by more
 * than the second figure says that this node itself stood still. */
export const LOOK_MS = 200
export const LOOK_LATE_MS = 300
/** A peer that was sent something and has not been heard of for so long is asked for a sign of life
 * at each look. Costs 100 bytes each way: a peer that answers what it is sent is never asked. */
export const KNOCK_MS = 300
export const KNOCKS_MIN = 2
/** Who has not answered for LONG_SILENT_MS is asked at one look in so many. */
export const LONG_SILENT_MS = 10_000
export const LONG_SILENT_LOOKS = 10
/** Peers asked at one look, some 3 us of the packet loop each, and those called for a new session,
 * a millisecond each. Others have their turn at the next. */
export const ASKED_MAX = 1_024
export const CALLED_MAX = 4
/** And for so long, it is silent. A TCP client repeats its SYN after a second. */
export const SILENT_MS = 900
/** A peer that was silent and came back is given twice as long, up to so many times SILENT_MS,
 * until it has been heard for CALM_MS. Not one that was silent for DEAD_MS. */
export const PATIENCE_MAX = 4
export const DEAD_MS = 3_000
export const CALM_MS = 60_000
/** What is known of the network is saved this long after it changed. */
export const CACHE_DELAY_MS = 2_000
/** Log lines wait this long for company. */
export const LOG_DELAY_MS = 20
