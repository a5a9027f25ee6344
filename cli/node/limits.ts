// Limits of a node's life.

/** How long a founder waits until it sees itself ready, and a joiner. They are members by then:
 * `docker node ls` would only show less. */
export const READY_WAIT_MS = 5_000
/** A request waits this long for a leader to be found: longer than an election takes. */
export const LEADER_WAIT_MS = 3_000
export const LEADER_POLL_MS = 25
/** How often the managers' reachability is written down, when it has changed. */
export const MANAGER_STATUS_MS = 500
/** A joining manager asks the next manager after this long, doubling. */
export const JOIN_RETRY_MS = 100
export const JOIN_RETRY_MS_MAX = 2_000
/** A leader waits this long for a newcomer to have the log, and looks this often. */
export const CATCH_UP_MS = 30_000
export const CATCH_UP_POLL_MS = 20
/** Entries that a newcomer may be behind when it begins to vote. */
export const CATCH_UP_ENTRIES = 16
/** A manager that was taken out of the Raft group and is wanted as a manager still comes back as a
 * new member after this long. */
export const REJOIN_AFTER_MS = 10_000
/** A node that could not open its manager's part tries again after this long. */
export const MANAGER_RETRY_MS = 5_000
/** A member that was removed serves its vote this long: the others may need it to commit that. */
export const FAREWELL_MS = 1_000
/** Tasks of a node that leaves are given this long to end. */
export const LEAVE_TASKS_MS = 15_000
/** A call of the control service that takes longer has failed. */
export const CONTROL_CALL_MS = 5_000
export const JOIN_CALL_MS = 45_000
/** One message of a forwarded request or answer carries so much of the body. */
export const BODY_PART_BYTES: number = 64 * 1024
/** Bytes read of the node's state file. */
export const STATE_FILE_SIZE_MAX: number = 64 * 1024
/** Requests of other managers that a leader serves at once: followed logs among them. */
export const FORWARDED_REQUESTS_MAX = 1_024
/** Managers that wait to become members. */
export const JOINS_WAITING_MAX = 64
/** The host's addresses are read again after this long. */
export const ADDRESSES_KEPT_MS = 2_000
