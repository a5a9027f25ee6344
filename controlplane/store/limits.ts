// Limits of the store.

/** JSON of one transaction. The same figure as in SwarmKit (manager/state/store/memory.go), where
 * it follows from gRPC's largest message. A batch's step counts as a transaction. */
export const TRANSACTION_BYTES_MAX: number = 1.5 * 1024 * 1024

/** How long a removed node is remembered after its certificate has run out. Swarm's value. */
export const REMOVED_KEPT_MS: number = 7 * 24 * 3_600_000

// Implementation: ours to change.

/** An entry takes in further transactions until it is this large. Larger = fewer rounds of Raft
 * under load, but a longer wait for everybody else while one is written. */
export const ENTRY_BYTES_FULL: number = 256 * 1024
/** And so many, which bounds how long the loop is held by running them. */
export const ENTRY_STEPS_MAX: number = 2_000
/** Calls of `update` and `batch` that wait for their turn; the next is `overloaded`. Each holds a
 * closure of its caller, so this bounds memory while no quorum answers. */
export const UPDATES_WAITING_MAX: number = 10_000
/** How long a control loop waits before it repeats a pass that failed: doubled each time. */
export const LOOP_RETRY_MS: number = 100
export const LOOP_RETRY_MS_MAX: number = 5_000

/** Removed nodes remembered at a time: 60 bytes each in the cluster object. */
export const REMOVED_NODES_MAX = 4_096
