// Every limit of the I/O edge, in one place. Nothing here grows without a bound.

/** Largest number of iovecs that one readv or writev takes (UIO_MAXIOV, linux/uio.h). */
export const IOVEC_COUNT_MAX = 1024

/** Longest device name in bytes (IFNAMSIZ is 16 with its terminating zero, linux/if.h). */
export const DEVICE_NAME_SIZE_MAX = 15

/** Ready descriptors that one wait() of the poller reports; the rest are reported by the next. */
export const POLL_EVENT_COUNT_MAX = 256

/** Largest slab in bytes: offsets must stay small integers (31 bits) for V8 to keep them unboxed.
 */
export const SLAB_SIZE_MAX: number = 2 ** 30

/** Largest payload of one sealed datagram: the AAD carries payload + 24 in 16 bits. */
export const AEAD_PAYLOAD_SIZE_MAX: number = 65535 - 24

/** Time that one run of an external command (ip, iptables) may take, in milliseconds. */
export const COMMAND_TIMEOUT_MS = 20_000

/** Children are looked at so often, besides whenever a signal tells of one, in milliseconds. */
export const REAP_MS = 1_000

/** Largest answer read from an external command, in bytes: 100,000 rules fit. */
export const COMMAND_OUTPUT_SIZE_MAX: number = 16 * 2 ** 20

/** Bytes of capture that wait for the disk; when they are full, packets are not captured and
 * counted. */
export const PCAP_BUFFER_SIZE: number = 2 ** 20

/** Longest packet kept whole in a capture, in bytes. */
export const PCAP_SNAPSHOT_SIZE = 65_600

/** Frames that wait in an in-memory device or socket; more are dropped and counted. */
export const MEMORY_QUEUE_COUNT_MAX = 4096

/** Processes looked at to find who holds a device. */
export const HOLDER_SCAN_COUNT_MAX = 4096

/** Published ports x addresses that the routing mesh steers: each is one policy rule, and the
 * kernel walks them in turn for every route it looks up. */
export const MESH_RULE_COUNT_MAX = 4096

/** How long published ports are held for an agent that follows, in seconds: a start takes one to
 * three, on a machine that compiles the new version first ten. A client gives its SYN up after two
 * minutes. */
export const MESH_HOLD_SECONDS = 60

/** Largest journal read back after a crash, in bytes. */
export const JOURNAL_SIZE_MAX: number = 16 * 2 ** 20

/** Records that were undone and still stand in a journal; with what they were, about 1 MB. */
export const JOURNAL_HISTORY_MAX = 4096

/** Largest UDP payload over IPv4: 65535 less 20 of IP and 8 of UDP. */
export const UDP_PAYLOAD_SIZE_MAX: number = 65535 - 28

/** Receive buffer of a socket for ICMP errors, in bytes as the kernel counts them: some 50 errors
 * that wait for the loop, more are lost. */
export const ICMP_BUFFER_SIZE: number = 64 * 1024

/** Datagrams in one message: what every kernel with UDP_SEGMENT takes (UDP_MAX_SEGMENTS was 64). */
export const UDP_SEGMENT_COUNT_MAX = 64

/** Frames or datagrams that a fault injector holds back to reorder them. */
export const FAULT_HELD_COUNT_MAX = 64
