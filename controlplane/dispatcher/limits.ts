// What bounds the dispatcher: times, sizes, counts.

// Specification: SwarmKit's numbers (manager/dispatcher).

/** A node is down after this many heartbeat periods without one. */
export const HEARTBEATS_MISSED = 3
/** Each answer to a heartbeat asks for the next one after the period, more or less this share. */
export const HEARTBEAT_JITTER = 0.1
/** Registrations of one node within the window; more are refused. */
export const REGISTRATIONS_MAX = 3
export const REGISTRATION_WINDOW_MS = 8_000
/** A task on a node that is down this long is given up. */
export const ORPHAN_AFTER_MS: number = 24 * 3600 * 1000
/** Tunnel keys: lifetime, and how many are kept. */
export const KEY_LIFETIME_MS: number = 12 * 3600 * 1000
export const KEYS_KEPT = 3
/** Assignments: changes within this time travel together; this many do not wait for more. */
export const FLUSH_MS = 100
export const FLUSH_CHANGES = 100

// Implementation: ours to change.

/** Period where the cluster's spec names none. Swarm has 5 s. */
export const HEARTBEAT_MS = 1_000
export const HEARTBEAT_MS_MIN = 100
export const HEARTBEAT_MS_MAX = 60_000
/** A change after a quiet time, and one that takes something out of service, waits this long. */
export const FLUSH_SOON_MS = 10
/** A node whose tunnels are silent is away after this many periods without a heartbeat. More than
 * one and its jitter: so a single late one does not do it. */
export const HEARTBEATS_AWAY = 1.5
/** And after this many under a leader that has never heard it: others come within half a second of
 * its election, and say who does not answer. */
export const HEARTBEATS_AWAY_UNHEARD = 0.75
/** A report about a peer counts for this many periods. */
export const REPORT_PERIODS = 2.5
/** The endpoint of a node behind NAT is changed at most this often. */
export const SEEN_MS = 30_000
/** Containers of users on attachable networks, per node. */
export const ATTACHMENTS_PER_NODE_MAX = 4_096
/** Names of one of them. */
export const ALIASES_MAX = 64
/** A container's id or name. */
export const NAME_CHARACTERS_MAX = 255
/** How often overdue nodes are looked for. */
export const LIVENESS_TICK_MS = 100
/** A leader whose look at the nodes comes so late stood still itself. */
export const STANDSTILL_MS = 300
/** How often tasks of dead nodes and old tunnel keys are looked for. */
export const SLOW_TICK_MS = 60_000
/** Status of tasks and nodes: writes within this time share a transaction. */
export const WRITE_DELAY_MS = 10
/** Statuses that wait to be written; more than this and agents are told to come again. */
export const STATUSES_WAITING_MAX = 100_000
/** Size of one message of assignments: well below gRPC's limit with the largest config added. */
export const MESSAGE_BYTES: number = 1024 * 1024
/** Log subscriptions of one manager at a time, and lines that one of them may leave unread. */
export const LOG_SUBSCRIPTIONS_MAX = 64
export const LOG_LINES_WAITING_MAX = 10_000

// Bounds of what a node says of itself.

export const DESCRIPTION_BYTES_MAX: number = 256 * 1024
export const STATUS_BYTES_MAX: number = 64 * 1024
export const STATUS_UPDATES_MAX = 4_096
export const NAMES_LISTED_MAX = 4_096
export const TEXT_MAX = 4_096
export const LIST_MAX = 1_024
