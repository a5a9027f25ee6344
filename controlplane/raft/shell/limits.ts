// Every number that bounds the shell.

// Specification: what the layers above and the manuals rely on.

/** Milliseconds between two ticks of the core's clock. */
export const TICK_MS: number = 100
/** Ticks that a member waits for a sign of a leader whose connection broke before it stands for
 * election: drawn from here to twice as much, so that members rarely collide. */
export const SUSPICION_TICKS: number = 2
/** Ticks between a leader's heartbeats. */
export const HEARTBEAT_TICKS: number = 1
/** Ticks without a leader before an election: 1 s to 2 s. Two lost heartbeats, a pause of 200 ms or
 * a slow disk must not cost an election. */
export const ELECTION_TICKS: number = 10
/** Bytes of one proposal: what SwarmKit and etcd take at most. */
export const MAX_PROPOSAL_BYTES: number = 1.5 * 1024 * 1024
/** Applied entries between two snapshots, at least, and entries kept before one for slow
 * followers. */
export const SNAPSHOT_ENTRIES: number = 10_000
export const KEPT_ENTRIES: number = 500

// Implementation: may be tuned; the cost is named.

/** A snapshot waits until the entries since the last one weigh this many times as much, or until
 * there are so many of them (what a restart applies again) or so many bytes (what is held in
 * memory). */
export const SNAPSHOT_GROWTH: number = 4
export const MAX_SNAPSHOT_ENTRIES: number = 100_000
export const MAX_SNAPSHOT_LOG_BYTES: number = 64 * 1024 * 1024

/** Proposals that wait for their commit; more are refused. Each holds its bytes and a promise. */
export const MAX_PENDING_PROPOSALS: number = 16_384
/** Reads that wait for their barrier; more are refused. */
export const MAX_PENDING_READS: number = 16_384
/** Bytes of entries in one message. Larger ones delay the heartbeats behind them. */
export const MAX_MESSAGE_BYTES: number = 1024 * 1024
/** Messages on their way to one follower. */
export const MAX_INFLIGHT_MESSAGES: number = 256
/** Bytes on their way to one follower: what a leader may have to hold for a slow one. */
export const MAX_INFLIGHT_BYTES: number = 16 * 1024 * 1024
/** Bytes proposed and not yet committed; more are refused. */
export const MAX_UNCOMMITTED_BYTES: number = 64 * 1024 * 1024
/** Bytes of committed entries applied in one turn of the event loop. */
export const MAX_APPLY_BYTES: number = 512 * 1024
/** Milliseconds a read barrier may take before it is given up. */
export const READ_TIMEOUT_MS: number = 5_000
/** Milliseconds a membership change may take before its outcome is called unknown. */
export const CHANGE_TIMEOUT_MS: number = 10_000
/** Milliseconds within which a joiner must answer at its address. */
export const PROBE_TIMEOUT_MS: number = 5_000
/** Ids of removed members that are remembered, the newest first to stay. */
export const MAX_REMOVED: number = 4_096
/** Members of a cluster, learners included. */
export const MAX_MEMBERS: number = 64
/** Characters of an address, and of a node or cluster id. */
export const MAX_ADDRESS_LENGTH: number = 256
export const MAX_ID_LENGTH: number = 64
/** Pages of SQLite's write-ahead log before they are copied into the database: 2 MB, some
 * milliseconds that the log may have to wait. */
export const CHECKPOINT_PAGES: number = 512
/** Bytes of a snapshot written at a time: about a millisecond that the log may have to wait. */
export const PART_BYTES: number = 128 * 1024
/** Parts of old snapshots that are removed, or sealed again, at a time. */
export const SWEEP_PARTS: number = 16
/** Records of the log that are removed at a time. */
export const SWEEP_RECORDS: number = 1_000
/** Pages copied at a time by a backup; writes go on in between. */
export const BACKUP_STEP_PAGES: number = 256
/** Rows that a change of the data key seals again in one transaction. */
export const RESEAL_ROWS: number = 512
/** Rounds of applying in a row before the event loop has its turn. */
export const DEFERRALS_AT_ONCE: number = 8
/** Milliseconds that the news of a commit may wait for a message that says more. */
export const COMMIT_NEWS_MS: number = 4
/** A write slower than this is worth a warning, milliseconds. */
export const SLOW_WRITE_MS: number = 1_000
