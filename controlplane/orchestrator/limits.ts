// Limits of the orchestrators.

// Specification: Swarm's own figures, which users see (SwarmKit, api/defaults/service.go and
// manager/orchestrator).

/** Between the end of a task and the start of the next in its slot. */
export const RESTART_DELAY_MS: number = 5_000
/** How long a new task waits for the old one of its slot to stop ... */
export const OLD_TASK_WAIT_MS: number = 60_000
/** ... but not less than the old one's grace period and this. */
export const OLD_TASK_SLACK_MS: number = 10_000
export const STOP_GRACE_MS: number = 10_000
/** How long a task of an update is watched from the moment it runs. */
export const MONITOR_MS: number = 5_000
/** Tasks kept per slot, the running one included, unless the cluster says otherwise. */
export const TASK_HISTORY: number = 5

// Implementation: ours to change.

/** Under load a pass waits until events pause for so long, at most so long. */
export const ORCHESTRATE_QUIET_MS: number = 5
export const ORCHESTRATE_WAIT_MS_MAX: number = 100
/** Transactions that one pass makes. Bounds how long the loop holds the thread. */
export const STEPS_PER_PASS: number = 1_000
/** Pace of what is not urgent: taking out old tasks, checking constraints. */
export const REAP_QUIET_MS: number = 250
export const REAP_WAIT_MS_MAX: number = 1_000
export const REAPED_PER_PASS: number = 2_000
export const ENFORCE_QUIET_MS: number = 50
export const ENFORCE_WAIT_MS_MAX: number = 500
