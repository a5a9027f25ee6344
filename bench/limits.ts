// Limits of the benchmarks.

/** Rounds when none are asked for: enough for a median, few enough for a coffee. */
export const ROUNDS = 3
export const ROUNDS_MAX = 50
/** Seconds of load per measurement when none are asked for. */
export const SECONDS = 3
export const SECONDS_MAX = 300
/** Room for a load tool to start and to report, beyond its seconds of load. */
export const TOOL_SLACK_MS = 20_000
/** How long a peer may take until it carries traffic. */
export const PEER_READY_MS = 15_000
/** How long `go install` of a peer may take. */
export const INSTALL_TIMEOUT_MS = 300_000
