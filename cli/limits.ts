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
/** Captures that one agent writes. */
export const CAPTURES_MAX: number = 16

/** Connections that clients on this node may have open to [::1]. */
export const LOOPBACK_CONNECTIONS_MAX: number = 1024
/** UDP clients on [::1] that are remembered, and how long a silent one is. */
export const LOOPBACK_UDP_CLIENTS_MAX: number = 1024
export const LOOPBACK_UDP_IDLE_MS: number = 180_000
