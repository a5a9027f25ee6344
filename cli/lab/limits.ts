// Limits of the lab: everything it waits for has a deadline, everything it keeps has a bound.

/** How long a process may take to end after SIGTERM before it is killed. */
export const STOP_GRACE_MS = 3000
/** The same for a node of a swarm, whose manager closes connections and a database. */
export const NODE_STOP_GRACE_MS = 20_000
/** How long a process may take to vanish after SIGKILL. */
export const KILL_GRACE_MS = 5000
/** Default deadline of a short command. */
export const EXEC_TIMEOUT_MS = 20_000
/** Longest life of a process that a lab spawns; a forgotten one ends by itself. */
export const SPAWN_LIFE_MS = 900_000
/** Default deadline of waitFor(). Most of what is waited for takes under a second; where other
 * tests and other programs share the processors, twenty times as long. */
export const WAIT_TIMEOUT_MS = 30_000
/** Pause between two looks at a condition. */
export const WAIT_STEP_MS = 20
/** Output kept per process and stream; older output is dropped from the front. */
export const OUTPUT_CHARACTERS_MAX = 1_048_576
/** How long an agent may take from its start to its first metrics answer. */
export const AGENT_READY_MS = 20_000
/** How long a node's agent may take to its first answer: it loads the whole control plane. */
export const SWARM_AGENT_READY_MS = 60_000
/** How long an agent may take to run the tables of a reload. */
export const AGENT_RELOAD_MS = 10_000
/** Default deadline of one request of a probe. */
export const PROBE_TIMEOUT_MS = 5000
/** An answer longer than this is refused by a probe. */
export const PROBE_ANSWER_BYTES_MAX = 8_388_608
/** Links a lab can number: each takes one /24 of 192.168.0.0/16 from the tenth on. */
export const LINKS_MAX = 200
/** Hosts on one link: .1 to .250. */
export const LINK_MEMBERS_MAX = 250
/** How long a swarm's change may take to come to its end on a machine that is busy. */
export const SWARM_WAIT_MS = 60_000
