// What the packet loop needs from the outside world. dataplane/edge/ implements these over Linux,
// and again in memory; the loop knows only these shapes. Offsets are slab offsets (slab.ts). Calls
// that can fail return a negative errno (-11 = EAGAIN) instead of throwing: a failed read is not
// exceptional.

/** EBADFD of a TAP or TUN whose namespace is gone: its descriptor is good and reports an error at
 * each poll, and nothing will ever come of it again (tun_chr_poll() of drivers/net/tun.c). */
export const DEVICE_GONE = -77

/** A TAP or TUN device opened with IFF_VNET_HDR: each frame is a 10-byte virtio-net header, then
 * the Ethernet frame (TAP) or IP packet (TUN). One call moves one frame, of up to 64 KB with
 * offload. */
export interface FrameDevice {
  readonly name: string
  /** Poll token's file descriptor; -1 in memory. */
  readonly fd: number
  /** Reads one frame to [at, at + capacity). Returns its length, 0 never, or -errno. */
  read(at: number, capacity: number): number
  /** Reads one frame scattered: `headSize` bytes to `at`, then `slotSize` bytes to each of
   * `slotAt + k * stride`, k < slotCount. Returns the frame's whole length, or -errno. */
  readScatter(
    at: number,
    headSize: number,
    slotAt: number,
    slotSize: number,
    stride: number,
    slotCount: number,
  ): number
  /** Writes [at, at + length) as one frame. Returns the length written, or -errno. */
  write(at: number, length: number): number
  /** Writes one frame gathered from `count` pieces: pieces[2k] is an offset, pieces[2k+1] a
   * length. */
  writeGather(pieces: Int32Array, count: number): number
  close(): void
}

/** ICMP errors that come to this host from outside, of one address family. */
export interface ErrorSource {
  readonly fd: number
  /** Reads one as an IP packet to [at, at + capacity), cut off there. An IPv6 header is made anew,
   * and there are no extension headers. Returns what lies there now, or -errno. */
  read(at: number, capacity: number): number
}

/** Messages on their way out through the underlay socket. A message is one or more datagrams to
 * one endpoint; all but its last are `segmentSize` bytes (UDP_SEGMENT). Its bytes stay where
 * they are in the slab until flush() returns. */
export interface SendBatch {
  /** Messages begun since the last flush. */
  readonly count: number
  /** Begins a message to `endpoint` (a handle of UnderlaySocket.endpoint). Returns the message's
   * number, or -1 when the batch is full: flush, then begin again. */
  begin(endpoint: number): number
  /** Appends [at, at + length) to message `message`; adjoining ranges share one iovec. Returns
   * false when the message has no room for another range: begin a new one. */
  append(message: number, at: number, length: number): boolean
  /** Declares that `message` holds datagrams of `segmentSize` bytes (only the last may be
   * shorter). */
  segment(message: number, segmentSize: number): void
  /** Sends all messages in order and empties the batch. Returns the number of messages that the
   * kernel refused (each was tried once more without offload when that was the cause). */
  flush(): number
  /** errno of the last refusal seen by flush(), 0 when there was none. */
  readonly lastError: number
}

/** Messages that came in through the underlay socket; valid until the next receive(). */
export interface ReceiveBatch {
  /** Messages that one receive() can bring; fewer mean that none is left. */
  readonly capacity: number
  /** Fills the batch without blocking. Returns the number of messages, 0 when none waits, or
   * -errno. */
  receive(): number
  /** Slab offset of message i's first byte. */
  at(i: number): number
  /** Bytes in message i: one datagram, or several merged by UDP_GRO. */
  size(i: number): number
  /** Size of each merged datagram but the last; equals size(i) when there is only one. */
  segmentSize(i: number): number
  /** True when message i came from the address and port of endpoint handle `endpoint`. */
  from(i: number, endpoint: number): boolean
  /** Interns the source of message i and returns its endpoint handle, -1 when the table is full. */
  source(i: number): number
  /** Writes the source of message i to out[0..18): 16 bytes of address (IPv4 as ::ffff:a.b.c.d),
   * then the port, big-endian. */
  sourceBytes(i: number, out: Uint8Array): void
}

/** The UDP socket of the underlay, dual-stack where the host has IPv6. */
export interface UnderlaySocket {
  readonly fd: number
  readonly port: number
  readonly sending: SendBatch
  readonly receiving: ReceiveBatch
  /** Interns an address and returns a small integer handle; reference counted. -1 when full. */
  endpoint(address: string, port: number): number
  /** Takes one more reference to a handle. */
  retain(endpoint: number): void
  /** Gives a reference back; the last one frees the handle. */
  release(endpoint: number): void
  /** "address:port" of a handle, for people. */
  describe(endpoint: number): string
  close(): void
}

/** Waits for readiness. Tokens are small integers chosen by the caller. */
export interface Poller {
  add(fd: number, token: number): void
  remove(fd: number): void
  /** Waits at most `timeoutMs` (0 = look only, -1 = no limit). Returns how many are ready, or
   * -errno. */
  wait(timeoutMs: number): number
  /** Token of the i-th ready descriptor of the last wait(). */
  token(i: number): number
  close(): void
}

/** One AES-256-GCM key in one direction. Nonce = salt(4) || counter(8). AAD = `aad` (11 bytes,
 * fixed at creation) followed by the payload length: the layout of a TLS 1.2 record (RFC 5288),
 * which OpenSSL runs in one pass. */
export interface AeadKey {
  /** Seals in place: writes the counter to [at, at+8), encrypts [at+8, at+8+length), writes the tag
   * behind it. Returns 0, or -1 on failure. The counter rises by one at each call. */
  seal(at: number, length: number): number
  /** Opens in place: counter at [at, at+8), `length` ciphertext bytes, then the 16-byte tag.
   * Returns 0, or -1 when the tag does not match (the bytes are then garbage). */
  open(at: number, length: number): number
  /** Releases the key and wipes its schedule. */
  free(): void
}

export interface AeadFactory {
  sealer(key: Uint8Array, salt: Uint8Array, aad: Uint8Array, firstCounter: number): AeadKey
  opener(key: Uint8Array, salt: Uint8Array, aad: Uint8Array): AeadKey
}
