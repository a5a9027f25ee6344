// Limits of the command line's own servers and waits.

/** Connections that the metrics server holds at once; more are closed unread. */
export const METRICS_CONNECTIONS_MAX: number = 32
/** Bytes of a request's header; a scrape needs a few hundred. */
export const METRICS_HEADER_SIZE_MAX: number = 8192
export const METRICS_HEADER_TIMEOUT_MS: number = 5000
export const METRICS_REQUEST_TIMEOUT_MS: number = 10_000
export const METRICS_KEEPALIVE_MS: number = 60_000
/** Rates are estimated until nobody has scraped for this long. */
export const RATES_IDLE_MS: number = 300_000

/** A changed file is read when it has been quiet for this long: editors write in several steps. */
export const RELOAD_QUIET_MS: number = 100
/** At the latest after this long, however often it changes. */
export const RELOAD_QUIET_MAX_MS: number = 2000

/** A stop that takes longer ends the process with EXIT_FAILURE; the next start repairs the host. */
export const STOP_TIMEOUT_MS: number = 15_000
/** Bytes of the file of saved flows: four million flows over IPv4. */
export const FLOWS_FILE_SIZE_MAX: number = 512 * 1024 * 1024
/** Captures that one agent writes. */
export const CAPTURES_MAX: number = 16

/** Connections that clients on this node may have open to [::1]. */
export const LOOPBACK_CONNECTIONS_MAX: number = 1024
/** UDP clients on [::1] that are remembered, and how long a silent one is. */
export const LOOPBACK_UDP_CLIENTS_MAX: number = 1024
export const LOOPBACK_UDP_IDLE_MS: number = 180_000

/** Questions that wait for the packet loop at once. */
export const QUESTIONS_MAX: number = 64

/** The control socket: connections at once, bytes of one request's and one answer's line, and how
 * long a client may leave a request unfinished. */
export const CONTROL_CONNECTIONS_MAX: number = 16
export const CONTROL_LINE_SIZE_MAX: number = 1024 * 1024
export const CONTROL_IDLE_MS: number = 60_000
/** How long a client waits for an answer. */
export const CONTROL_ANSWER_MS: number = 30_000
/** Lines of one page of the services added by hand. */
export const MANUAL_PAGE_ROWS: number = 1000
/** Bytes read of /etc/hosts and /etc/services. */
export const NAMES_FILE_SIZE_MAX: number = 4 * 1024 * 1024
/** Characters of one line of a rules file. */
export const RULES_LINE_SIZE_MAX: number = 65_536
