// Every bound of the load balancer in one place. "Specification" values come from IPVS and may not
// be tuned without changing what a user sees; "implementation" values may.

// Specification.

/** Greatest weight of a real server (ipvsadm(8)). */
export const WEIGHT_MAX = 65535
/** Greatest persistence timeout, 31 days (ipvsadm(8)). */
export const PERSISTENCE_SECONDS_MAX: number = 31 * 24 * 60 * 60
/** Greatest upper or lower threshold (16 bits in ipvsadm). */
export const THRESHOLD_MAX = 65535

// Implementation.

/** Connections held at once when the configuration names no number. */
export const CONNECTIONS_DEFAULT: number = 1 << 20
/** Entries from which a table is large: 4 MB of records, as much as a core's cache. Smaller ones do
 * not need huge pages, and would hold memory that they do not use. */
export const LARGE_TABLE_ENTRIES: number = 1 << 16
/** Connections one table can address: the index keeps 23 bits of entry, 0 meaning none, and 1 of
 * direction. */
export const CONNECTIONS_MAX: number = (1 << 23) - 1
/** Zones (isolated address spaces): 16 bits of a connection record each way. */
export const ZONE_MAX = 65535
/** Services and real servers that one director holds. */
export const SERVICES_MAX = 20480
export const REAL_SERVERS_MAX = 147456
/** Virtual addresses and ports of one service together. */
export const SERVICE_KEYS_MAX = 4096
/** Length of one timer tick. Timeouts are rounded up to it. */
export const TICK_MS = 100
/** Buckets of the timer wheel, a power of two: 4096 ticks are just under seven minutes. A later
 * deadline waits in the farthest bucket and is filed again when that bucket comes up. */
export const WHEEL_SLOTS = 4096
/** Slots of the smallest connection index. */
export const INDEX_SLOTS_MIN = 1024
/** Index slots moved at each insertion while the index doubles: more than 1 / LOAD_MAX, so that it
 * is done before the next doubling. */
export const INDEX_MOVE_PER_INSERT = 2
/** The same at each advance(). */
export const INDEX_MOVE_PER_ADVANCE = 1024
/** Connections examined per advance() call while flows of removed real servers are looked for, and
 * how many of them are ended: two resets each. */
export const SWEEP_PER_ADVANCE = 4096
export const ORPHANS_PER_ADVANCE = 64
/** What the two packets of a keep-alive probe cost, in connections examined. */
export const PROBE_COST = 7
/** Datagrams being fragmented that are followed at once; the oldest give way. */
export const FRAGMENTS_MAX = 1024
/** Rows of statistics sampled per advance() call while the rates are estimated. */
export const ESTIMATE_ROWS = 4096
/** How long a first fragment's connection is remembered (Linux ipfrag_time). */
export const FRAGMENT_TIMEOUT_MS = 30_000
/** Packets whose look-ups are announced at once: more than the processor can load at the same time,
 * few enough that what is loaded is still in the first-level cache when it is used. */
export const EXPECT_MAX = 64
/** Source ports tried before a rewritten flow is refused. */
export const PORT_ATTEMPTS = 64
/** First and last source port handed to flows whose own port is taken. */
export const PORT_FIRST = 1024
export const PORT_LAST = 65535
/** Random entries looked at when a full table must give up one connection. */
export const EVICT_SAMPLES = 16
/** Half-open ones among them that are enough to choose from: each look is a miss of the cache, and
 * the oldest of four is a client in the middle of its handshake once in many millions. */
export const EVICT_HALF_OPEN = 4
/** Slots of an mh table when the service names no number (the kernel's default, table index 12). */
export const MH_SLOTS_DEFAULT = 4093
/** Slots looked at per slice of building an mh table: a few hundred microseconds. */
export const MH_STEPS_PER_WORK = 5_000
/** Targets that lblc or lblcr remember per pool; how long an idle one is kept when room is needed,
 * and when it is not; how often the latter is checked. Ticks. */
export const TARGET_CACHE_MAX = 16384
export const TARGET_CACHE_IDLE_TICKS: number = (6 * 60 * 1000) / TICK_MS
export const TARGET_CACHE_EXPIRATION_TICKS: number = (24 * 60 * 60 * 1000) / TICK_MS
export const TARGET_CACHE_CHECK_TICKS: number = (30 * 60 * 1000) / TICK_MS
/** A server set of lblcr that has not changed for this long loses a member (sysctl
 * lblcr_expiration). */
export const LBLCR_EXPIRATION_TICKS: number = (24 * 60 * 60 * 1000) / TICK_MS
/** Room is short when less than this share (one in ...) of the connection table is free. */
export const SHORT_SHARE = 8
/** drop_entry looks at one in this many entries each second (ip_vs_random_dropentry()),
 * in slices, of which each drops no more than so many. */
export const DROP_ENTRY_SHARE = 32
export const DROP_ENTRY_SLICE = 4096
export const DROP_ENTRY_SLICE_DROPS = 256
/** Preference tiers of real servers: 0 is tried first. */
export const TIERS_MAX = 4
/** Parts in which a server's share grows during slow start: the first is one in so many. */
export const SLOW_START_STEPS = 16
/** Longest slow start. */
export const SLOW_START_SECONDS_MAX = 3600
/** Time between the keep-alive probes of an idle established connection. */
export const PROBE_INTERVAL_TICKS: number = 20_000 / TICK_MS
/** SYNs kept for a retry, a power of two: those of about a millisecond at a million a second. And
 * the longest kept: Ethernet and IPv6 headers, a TCP header full of options, and some room. */
export const HELD_SYNS_MAX = 1024
export const HELD_SYN_SIZE_MAX = 160
/** SYNs of one connection after which a refusal is passed on to the client. */
export const RETRY_SYNS_MAX = 4
/** A PROXY header that the server has not acknowledged is sent again after so long, and then each
 * time after twice as long, until this many such times have passed: about two minutes. */
export const PROXY_HEADER_RESEND_MS = 250
export const PROXY_HEADER_TRIES_MAX = 512
/** It is sent again with a segment of the client, unless that was done so short a time ago: a
 * client's first flight has many segments. */
export const PROXY_HEADER_GAP_MS = 100
/** The same with a report of the server that it has a gap: each segment behind brings one. */
export const PROXY_HEADER_LOST_MS = 10
