// Every limit of the package in one place: what the kernel fixes first, what we chose after it.

// Fixed by the kernel or by a protocol.

/** Largest UDP payload over IPv4: total length 65,535, less a 20-byte header and 8 of UDP (RFC
 * 768). */
export const PAYLOAD_SIZE_MAX_V4: number = 65_535 - 20 - 8

/** Largest UDP payload over IPv6: payload length 65,535, which counts no IPv6 header (RFC 8200 §3),
 * less 8 of UDP. */
export const PAYLOAD_SIZE_MAX_V6: number = 65_535 - 8

/** Datagrams one UDP_SEGMENT message may become: UDP_MAX_SEGMENTS of Linux 4.18 (newer ones take
 * 128). */
export const SEGMENTS_PER_MESSAGE_MAX = 64

/** UIO_MAXIOV: messages per sendmmsg/recvmmsg call, and iovecs per message. */
export const KERNEL_VECTOR_MAX = 1024

/** Smallest receive buffer that holds whatever UDP_GRO may merge. */
export const GRO_MESSAGE_SIZE = 65_535

// Chosen here; the constructor options override those that say "default".

/** Default number of messages in a SendBatch. */
export const SEND_MESSAGES = 64

/** Default number of ranges (iovecs) per message in a SendBatch. */
export const SEND_RANGES = 64

/** Default number of interned endpoints per socket. */
export const ENDPOINTS = 4096

/** Default wish for SO_RCVBUF and SO_SNDBUF in bytes: one 10 Gb/s link for 5.6 ms. */
export const SOCKET_BUFFER_BYTES: number = 7 * 1024 * 1024

/** Longest wait of one flush() for room in the socket's send buffer, in polls of one millisecond.
 * */
export const SEND_WAIT_POLLS_MAX = 2

/** Further tries per message after EINTR, or ECONNREFUSED (a late ICMP error that belongs to an
 * earlier message and is reported once). */
export const SEND_RETRIES_MAX = 2

/** Calls of recvmmsg in one receive() when all that came was truncated and dropped. */
export const RECEIVE_TRIES_MAX = 4

// createSocket() only.

/** Receive rounds per wake-up before other work of the event loop gets its turn. */
export const ROUNDS_PER_WAKE = 8

/** Default number of messages per system call, each way. */
export const BATCH_SIZE = 32

/** Receive buffers of createSocket(): with this size nothing is ever truncated, merged or not. */
export const RECEIVE_BUFFER_SIZE = 65_536

/** Bytes that one sendmmsg of createSocket() carries at most. */
export const SEND_AREA_SIZE: number = 512 * 1024

/** Addresses remembered by send(), and again by the receiving side. */
export const REMEMBERED_ADDRESSES = 1024
