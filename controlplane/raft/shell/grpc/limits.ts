// What bounds the transport. All of it is ours to change; raising a size costs memory per peer,
// raising a time costs that time when a peer dies.

/** Messages and bytes that wait for one peer. In good times a handful waits; a peer that does not
 * read for a while costs this much and no more. */
export const QUEUE_MESSAGES_MAX = 4_096
export const QUEUE_BYTES_MAX: number = 16 * 1024 * 1024

/** Messages are joined into a frame until it has this size. */
export const FRAME_BYTES: number = 256 * 1024
/** One message that is larger is dropped: with the frame around it, it would pass the limit of
 * gRPC. Entries are bounded well below that where they are proposed. */
export const MESSAGE_BYTES_MAX: number = 4 * 1024 * 1024 - 1024

/** Messages in one frame that a receiver accepts. */
export const FRAME_MESSAGES_MAX: number = QUEUE_MESSAGES_MAX

/** Connection, handshake and the peer's acceptance together. Half of a shortest election timeout,
 * so that an election is not lost to an address that swallows packets. */
export const CONNECT_TIMEOUT_MS = 1_000

/** Pause between two attempts: doubled from the first to the last. */
export const BACKOFF_FIRST_MS = 100
export const BACKOFF_LAST_MS = 1_000

/** Bytes of a snapshot in one message, and how many such may be unacknowledged. */
export const SNAPSHOT_CHUNK_BYTES: number = 512 * 1024
export const SNAPSHOT_WINDOW_BYTES: number = 8 * SNAPSHOT_CHUNK_BYTES
/** A snapshot without progress for this long is given up, by either side. */
export const SNAPSHOT_STALL_MS = 10_000
/** The largest snapshot that is received. It is held in memory, as the state it describes is. */
export const SNAPSHOT_BYTES_MAX: number = 1024 * 1024 * 1024
