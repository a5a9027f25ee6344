// Limits of the scheduler.

// Specification: Swarm's own figures, which users see (SwarmKit, manager/scheduler).

/** So many failures of a service's tasks on a node within the window put the node last. */
export const FAILURES_BAD: number = 5
export const FAILURE_WINDOW_MS: number = 5 * 60_000

// Implementation: ours to change.

/** Under load a pass waits until events pause for so long ... */
export const SCHEDULE_QUIET_MS: number = 50
/** ... but at most for so long. Swarm waits up to 1 s; a shorter wait makes smaller passes. */
export const SCHEDULE_WAIT_MS_MAX: number = 200
/** Tasks that one pass places. Bounds how long the loop holds the thread, and lets the first of
 * many tasks start while the last still wait. */
export const TASKS_PER_PASS: number = 1_000
/** Tasks whose explanation one pass rewrites. */
export const EXPLANATIONS_PER_PASS: number = 1_000

/** Versions of services whose failures are remembered per node. */
export const FAILING_VERSIONS_MAX: number = 1_000

/** Rebalancing: from one move to the next, and between looks whether there is one to make. */
export const REBALANCE_PAUSE_MS: number = 10_000
export const REBALANCE_LOOK_MS: number = 1_000
/** Nodes that a look considers to take a task from, the fullest. */
export const SOURCES_MAX: number = 20
