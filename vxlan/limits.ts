// Every number of the overlay in one place. "Specification" is what the other end relies on:
// changing one means a new wire version. "Implementation" may be tuned by whoever runs a node; the
// two ends need not agree. Timers follow WireGuard's (whitepaper section 6.1), packet limits the
// bounds of AES-GCM (below).

// ---- Specification -----------------------------------------------------------------------------

/** Named in the prologue, so two versions never complete a handshake with each other. */
export const PROLOGUE = 'weft v1'

/** Age at which whoever initiated a session starts the next one. */
export const REKEY_AFTER_MS: number = 120_000

/** Age at which a key opens and seals nothing any more. */
export const REJECT_AFTER_MS: number = 180_000

/** Datagrams under one key after which its initiator starts the next session. */
export const REKEY_AFTER_PACKETS: number = 2 ** 27

/** Datagrams under one key after which it seals no more. With 1500-byte datagrams 2^28 stays under
 * the confidentiality bound of AES-GCM for an advantage of 2^-60 (draft-irtf-cfrg-aead-limits
 * 5.1.1). The number of forgeries needs no limit of its own: in REJECT_AFTER_MS a link would have
 * to carry 2^52. */
export const REJECT_AFTER_PACKETS: number = 2 ** 28

/** An initiation without an answer is repeated after this time plus the jitter. */
export const REKEY_TIMEOUT_MS: number = 5_000

/** Upper end of the random addition: two ends that call each other at once fall out of step. */
export const REKEY_JITTER_MS: number = 334

/** Calling ends after this time; the next frame for the peer starts it anew. */
export const REKEY_ATTEMPT_MS: number = 90_000

/** Whoever received a frame and has nothing to send answers with a keep-alive after this time, so
 * that silence for KEEPALIVE + REKEY_TIMEOUT after a frame was sent proves that the peer lost its
 * keys. */
export const KEEPALIVE_MS: number = 10_000

/** Life of a cookie at the initiator, and of the responder's secret behind it. */
export const COOKIE_LIFE_MS: number = 120_000

/** Datagrams may arrive this many behind the newest and still be accepted (RFC 6479 window, less
 * the word that is being refilled). */
export const REPLAY_WINDOW_BITS: number = 8192

/** Smallest outer packet that path-MTU search starts from: every IPv6 link carries it (RFC 8200,
 * 5). */
export const BASE_OUTER_MTU: number = 1280

/** Counters and lengths are read as plain numbers, exact up to here. */
export const COUNTER_MAX: number = Number.MAX_SAFE_INTEGER

// ---- Implementation ----------------------------------------------------------------------------

/** Peers of one node, unless the constructor is told otherwise. A power of two. */
export const PEERS_MAX: number = 1024

/** An initiation goes by the relay this long after it went directly, or the shorter of the two ways
 * would be found by chance. Longer than a round trip on most paths; a peer that only the relay
 * reaches has its session so much later. */
export const RELAY_LATER_MS: number = 100

/** When a session has come up by way of a relay, the direct way is tried, unless it was within this
 * time: a call that answers a call is not answered by another. As long as a call is waited for;
 * where there is no direct way, it costs one handshake more for each rekeying. */
export const DIRECT_TRY_MS: number = REKEY_TIMEOUT_MS

/** Slots per peer in the receiver-index space: previous, current, next and a handshake under way.
 * */
export const SLOTS_PER_PEER = 4

/** Handshake messages taken from one source address (IPv6: one /64), per second and as a burst. */
export const HANDSHAKES_PER_SOURCE_PER_SECOND = 50
export const HANDSHAKES_PER_SOURCE_BURST = 50

/** Handshake messages taken from all sources together. Answering one takes 0.7 to 1.2 ms of the
 * packet loop (measured on a busy 2-core EPYC; three DH and a dozen HMACs through node:crypto), so
 * a flood from true addresses gets a fifth of it at most. */
export const HANDSHAKES_PER_SECOND_MAX = 200
export const HANDSHAKES_BURST_MAX = 200

/** Above this rate a cookie is demanded, and for this long after the rate fell. */
export const UNDER_LOAD_HANDSHAKES_PER_SECOND = 50
export const UNDER_LOAD_MS = 1_000

/** Source addresses whose buckets are remembered; when full, a new source is refused. */
export const SOURCES_MAX = 4096

/** Shortest time between two initiations accepted from one peer. */
export const INITIATION_GAP_MS = 20

/** Frames that the packet loop keeps per peer while a session is being made; the oldest goes first.
 * */
export const STAGED_FRAMES_MAX = 16

/** Path-MTU search (RFC 8899 section 5.1): time to wait for an acknowledgement, tries per size,
 * time until a larger size is tried again, time between confirmations of the size in use, and how
 * close the search comes to the limit before it stops. */
export const PROBE_TIMEOUT_MS = 1_000
export const PROBES_MAX = 3
export const RAISE_MS = 600_000
export const CONFIRM_MS = 60_000
export const SEARCH_STEP_BYTES = 8
