// Every bound of the packet loop in one place. Sizes in bytes unless the name says otherwise.

/** Largest frame that a device hands over or takes: 64 KB of IP, an Ethernet header, a VLAN tag. */
export const FRAME_MAX: number = 65535 + 18
/** Bytes before a frame for its outer headers: envelope (16) and VXLAN header (8). A device's
 * virtio-net header (10) uses the same place before them. No more than that, so that the
 * segments of a super-packet, sealed where they were read, lie without a gap and go out as one
 * range. */
export const HEADROOM = 24
/** Datagrams of one UDP_SEGMENT message, and bytes of all of them: what every kernel and family
 * takes. */
export const MESSAGE_SEGMENTS_MAX = 64
export const MESSAGE_SIZE_MAX = 65507
/** Headers that must lie in one piece for the stages to read them: Ethernet, 60 of IP, 60 of
 * TCP, and some room for IPv6 extension headers. */
export const CONTIGUOUS_MIN = 256
/** The arena, where frames are read, split and sealed until they are sent. Two of the largest
 * frames with all their outer headers must fit (one as read, one as split), and what a burst
 * adds. */
export const ARENA_SIZE: number = 1 << 19
/** Once this much of the arena is used the packets in it are sent: larger bursts would leave the
 * cache. */
export const ARENA_BURST: number = 160 * 1024
/** Frames read from one device before the others get their turn. */
export const DEVICE_READS_MAX = 64
/** recvmmsg calls before the devices get their turn. */
export const SOCKET_READS_MAX = 4
/** Slots of a scattered read; the kernel takes 1024 (UIO_MAXIOV). */
export const SCATTER_SLOTS_MAX = 128
/** Segments of a super-packet: the TAP is told so (gso_max_segs), so that one frame fits one
 * UDP_SEGMENT message of at most 64 datagrams and 65,507 bytes. */
export const SEGMENTS_PER_FRAME_MAX = 44
/** Items of one merging window, and frames of one item. */
export const COALESCE_ITEMS_MAX = 256
export const COALESCE_FRAMES_MAX = 64
/** Peers and networks of one engine. PEERS_MAX is a power of two (vxlan/peer-table.ts). */
export const PEERS_MAX = 4096
export const NETWORKS_MAX = 4096
export const ENDPOINTS_MAX: number = 1 << 20
/** Frames kept for a peer while its session is made: see STAGED_FRAMES_MAX in vxlan/limits.ts. */
export const STAGED_FRAME_MAX = 2048
/** Connections examined by one turn of the loop for expiry: under half a millisecond, with a few
 * misses of the cache for each. */
export const EXPIRY_BUDGET = 256
/** Flows from which on a burst's look-ups are prepared together. Measured on a machine with 1 MB
 * of second-level cache per core: at 50,000 flows it costs as much as it saves, at 100,000 it takes
 * 190 instead of 260 ns per packet, at 2 million 215 instead of 570. */
export const ANNOUNCE_FLOWS_MIN = 65_536
/** Frames of a burst from which on that pays. */
export const ANNOUNCE_FRAMES_MIN = 4
/** A turn of the loop that takes longer is counted: packets waited for it. */
export const SLOW_TURN_SECONDS = 0.001
/** Lines of one page of a listing, and entries of the flow table looked at for it: well under a
 * millisecond. */
export const PAGE_ROWS = 64
export const CONNECTION_LOOKS = 4096
/** Peers that are asked for a sign of life at a time, some 3 us each, and those that are called for
 * a new session, about a millisecond each. */
export const KNOCKS_MAX = 1024
export const CALLS_MAX = 4
/** Frames read from a device before the first is forwarded, while there are so many flows; a frame
 * larger than this is the last of them. Together they stay far below ARENA_BURST. */
export const AHEAD_FRAMES_MAX = 32
export const AHEAD_FRAME_SIZE_MAX = 2048
/** PROXY headers looked at by one turn of the loop to be sent again: a microsecond or two each. */
export const PROXY_HEADERS_PER_TURN = 128
/** ICMP errors and resets that this node makes, per second and as a burst (RFC 1812 section
 * 4.3.2.8). */
export const ANSWERS_PER_SECOND = 1000
export const ANSWERS_BURST = 100
/** ICMP errors from outside that are looked at, per second and as a burst: a look-up takes about a
 * microsecond. */
export const OUTSIDE_ERRORS_PER_SECOND = 10_000
export const OUTSIDE_ERRORS_BURST = 1000
/** Errors read from a source before the others get their turn. */
export const OUTSIDE_ERROR_READS_MAX = 16
/** Longest error, as an IP packet: what routers and hosts quote is meant to stay below 576 bytes
 * (RFC 1812 section 4.3.2.3) and 1280 (RFC 4443 section 2.4 (c)), and some quote a whole packet. */
export const OUTSIDE_ERROR_SIZE_MAX = 2048

/** Routes of a relay: receiver indexes, two per pair of nodes and session. A route is 100 bytes. */
export const RELAY_ROUTES_MAX = 16_384
/** A route that was not used for so long is void: no key lives longer (vxlan, REJECT_AFTER_MS). */
export const RELAY_ROUTE_IDLE_MS = 180_000
/** Initiations a relay looks at: each costs it up to a hash (3 us) per peer. */
export const RELAY_INITIATIONS_PER_SECOND = 20
