// Every limit of the process executor.

/** How long the interfaces of a task may take to appear before its start has failed. */
export const INTERFACES_TIMEOUT_MS = 30_000
/** How often what cannot be watched is looked at. */
export const POLL_MS = 500
/** How long a command of ours (ip, mount, tar) may take. */
export const COMMAND_TIMEOUT_MS = 60_000
/** Swarm's default stop grace period. */
export const STOP_GRACE_MS = 10_000
/** How long the end of a killed task may take. */
export const KILL_TIMEOUT_MS = 10_000
/** Where ports of mode "host" without a number are from: the dynamic ports of RFC 6335, as with
 * Docker. */
export const HOST_PORT_FIRST = 49_153
export const HOST_PORT_LAST = 65_535
/** Numbers that are tried. */
export const HOST_PORT_TRIES = 1000
/** One line of a log; a longer one is cut into pieces, as Docker does. */
export const LOG_LINE_BYTES_MAX: number = 16 * 1024
/** Defaults of the log options max-size and max-file. */
export const LOG_FILE_BYTES: number = 10 * 1024 * 1024
export const LOG_FILES = 3
/** Lines that wait for one reader who follows; beyond it he misses the oldest half. */
export const FOLLOWER_LINES_MAX = 20_000
/** Read bytes of what a task wrote that are given back to the file system in one go. */
export const LOG_PUNCH_BYTES: number = 1024 * 1024
/** Docker's defaults of a health check (ms), and how much of a probe's output is shown. */
export const HEALTH_INTERVAL_MS = 30_000
export const HEALTH_TIMEOUT_MS = 30_000
export const HEALTH_RETRIES = 3
export const HEALTH_START_INTERVAL_MS = 5_000
/** An OCI image's JSON documents. */
export const OCI_DOCUMENT_BYTES_MAX: number = 4 * 1024 * 1024
export const OCI_LAYERS_MAX = 128
