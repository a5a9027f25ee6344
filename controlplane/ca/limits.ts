// Every number of the CA in one place. "Specification" is what other nodes, tools or Docker's users
// rely on: the values are Swarm's. "Implementation" may be tuned; the other end need not agree.

const SECOND_MS = 1_000
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

// ---- Specification -----------------------------------------------------------------------------

/** Life of a root certificate that the swarm makes for itself: 20 years of 365 days. */
export const ROOT_LIFE_MS: number = 7300 * DAY_MS

/** Life of a node certificate unless the cluster says otherwise. */
export const NODE_LIFE_MS: number = 90 * DAY_MS

/** Shortest life that the cluster may ask for: renewal must have time to happen. */
export const NODE_LIFE_MS_MIN: number = HOUR_MS

/** Certificates begin this long before they are made, for nodes whose clocks are behind. */
export const BACKDATE_MS: number = HOUR_MS

/** A root that an administrator hands in must be good for at least this long. */
export const GIVEN_ROOT_LIFE_MS_MIN: number = 365 * DAY_MS

/** A certificate is renewed at a random point between these shares of its life. */
export const RENEW_FROM = 0.5
export const RENEW_UNTIL = 0.8

/** Size of the secret half of a join token, and of the key that locks a manager. */
export const TOKEN_SECRET_SIZE = 16
export const KEK_SIZE = 32

// ---- Implementation ----------------------------------------------------------------------------

/** Nodes told to renew per tick of a root rotation, and how long a tick is: ten nodes a second, so
 * that a rotation does not become a stampede. */
export const ROTATE_BATCH = 30
export const ROTATE_TICK_MS: number = 3 * SECOND_MS

/** A certificate request is about 250 bytes; a root bundle or a chain a few of 600 bytes each. */
export const CSR_SIZE_MAX: number = 4 * 1024
export const PEM_SIZE_MAX: number = 256 * 1024
export const CHAIN_COUNT_MAX = 8
export const BUNDLE_COUNT_MAX = 16

/** Nesting of DER that the reader follows: a certificate's own is 7. */
export const DER_DEPTH_MAX = 12

/** A key file holds one key, two sealed data keys and a chain. */
export const KEY_FILE_SIZE_MAX: number = 64 * 1024

/** One call of a joining or renewing node, and the pause between two attempts. */
export const CALL_TIMEOUT_MS: number = 5 * SECOND_MS
export const RETRY_MS_MIN: number = SECOND_MS
export const RETRY_MS_MAX: number = 30 * SECOND_MS

/** Attempts to fetch the root certificate before a join gives up. */
export const ROOT_ATTEMPTS = 5

/** A poll for a certificate is answered when it is there, or after this time as it stands. */
export const STATUS_WAIT_MS: number = 4 * SECOND_MS

/** Status polls that wait at one time; more are answered at once. */
export const STATUS_WAITERS_MAX = 4096

/** Requests for certificates per source address and of all together, as bucket and refill. The
 * sum lets a thousand nodes in within a minute. Failed tokens cost like accepted ones. */
export const REQUESTS_PER_SOURCE_BURST = 20
export const REQUESTS_PER_SOURCE_PER_SECOND = 2
export const REQUESTS_BURST = 200
export const REQUESTS_PER_SECOND = 50
export const SOURCES_MAX = 4096

/** Characters of a source's name, as another manager hands it on: an address. */
export const SOURCE_LENGTH_MAX = 64

/** Certificates signed in one transaction, and the pause after one that could not be signed. */
export const SIGN_BATCH = 100
export const SIGN_RETRY_MS: number = 10 * SECOND_MS

/** The external signer's time and the size of its answer. */
export const EXTERNAL_TIMEOUT_MS: number = 5 * SECOND_MS
export const EXTERNAL_ANSWER_SIZE_MAX: number = 256 * 1024
export const EXTERNAL_CAS_MAX = 16

/** Pause before a role that could not be changed is tried again. */
export const ROLE_RETRY_MS: number = 5 * SECOND_MS
