// Limits of the demo.

/** Replicas of the service, one per host. */
export const REPLICAS = 3
/** Port published on every host. */
export const PUBLISHED_PORT = 8080
/** Requests per second that the live display makes, each from the client and from the task. */
export const REQUESTS_PER_SECOND = 10
/** Redraws per second. */
export const FRAMES_PER_SECOND = 2
/** How long each look at the underlay lasts. */
export const SNIFF_MS = 300
/** Size of a download that measures throughput. */
export const BULK_MB = 256
/** Parallel downloads that the key "l" can add up to. */
export const LOADS_MAX = 3
/** How long one download may take. */
export const BULK_TIMEOUT_MS = 60_000
/** A request of the demo that takes longer has failed. */
export const REQUEST_TIMEOUT_MS = 2000
/** How long the inner half may take to end before it is killed. */
export const STOP_TIMEOUT_MS = 15_000
/** How long a scrape of the metrics may take. */
export const SCRAPE_TIMEOUT_MS = 5000
/** Requests that the checks make where they count who answered. */
export const SPREAD_REQUESTS = 12
