// Limits of the demo.

export const NODES = 3
/** Ports published on every node, by the services web and shop. */
export const PUBLISHED_PORT = 8080
export const SHOP_PORT = 8081
/** Port of an agent's metrics, on its host's loopback. */
export const METRICS_PORT = 9323
/** How long all nodes may take to be ready, and all tasks to run. */
export const NODE_TIMEOUT_MS = 60_000
export const CONVERGE_TIMEOUT_MS = 90_000
/** Requests per second that the live display makes to each service. */
export const REQUESTS_PER_SECOND = 10
/** Redraws per second. */
export const FRAMES_PER_SECOND = 2
/** How long each look at the underlay lasts. */
export const SNIFF_MS = 300
/** Size of a download that measures throughput. */
export const BULK_MB = 256
/** How long one download may take. */
export const BULK_TIMEOUT_MS = 60_000
/** A request of the demo that takes longer has failed. */
export const REQUEST_TIMEOUT_MS = 3000
/** How long the inner half may take to end before it is killed. */
export const STOP_TIMEOUT_MS = 15_000
/** How long a scrape of the metrics may take. */
export const SCRAPE_TIMEOUT_MS = 5000
/** Requests that the checks make where they count who answered. */
export const SPREAD_REQUESTS = 24
