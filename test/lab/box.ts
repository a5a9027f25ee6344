// A container's hands: what a test lets a container do. It runs in box-worker.ts, inside the
// namespace.

import type { Host } from '../../cli/lab/host.ts'
import type { BulkOrder, BulkResult } from './bulk.ts'
import type { RawOptions } from './raw-sockets.ts'
import { type NamespaceThread, type Remote, threadIn } from './thread.ts'

/** What came of a datagram or a ping: an answer, the kernel's or ICMP's error by name, or
 * nothing. */
export interface Outcome {
  readonly answer?: string
  /** "EMSGSIZE", "ECONNREFUSED", "EHOSTUNREACH", … */
  readonly error?: string
}

export interface AskOptions extends RawOptions {
  /** Bytes of payload. */
  readonly size: number
  readonly timeoutMs?: number
}

export type BoxMethods = {
  /** Starts the bulk server (bulk.ts) on TCP port `port` and the UDP echo on the same. */
  readonly listen: (port: number) => Promise<void>
  readonly bulk: (
    address: string,
    port: number,
    order: BulkOrder,
    timeoutMs: number,
  ) => Promise<BulkResult>
  /** Sends one datagram; the echo answers "SIZE from ADDRESS" when its content is right. */
  readonly ask: (address: string, port: number, options: AskOptions) => Promise<Outcome>
  /** One echo request with `size` bytes of data; the answer is "SIZE ttl TTL" (IPv6: "SIZE"). */
  readonly ping: (address: string, options: AskOptions) => Promise<Outcome>
  /** Begins to record the frames that cross a device, both ways. */
  readonly record: (device: string) => Promise<void>
  /** Frames recorded since the last call, in hex. */
  readonly recorded: (device: string) => Promise<string[]>
  /** Sends whole Ethernet frames, in hex, through a device. */
  readonly frames: (device: string, frames: readonly string[]) => Promise<void>
  /** Sends UDP datagrams, in hex, one by one and not connected. */
  readonly datagrams: (address: string, port: number, datagrams: readonly string[]) => Promise<void>
  /** Lets the kernel make checksums before a frame leaves `device`, as a network card would on
   * its wire. */
  readonly checksumEarly: (device: string) => void
  /** Joins multicast groups (and hears broadcasts) on a UDP port. */
  readonly join: (port: number, groups: readonly string[], device: string) => Promise<void>
  /** Texts heard on that port since the last call. */
  readonly heard: (port: number) => Promise<string[]>
  /** Sends a text to a group, to the broadcast address, or to anybody. */
  readonly say: (address: string, port: number, text: string, device: string) => Promise<void>
}

export interface Box {
  readonly host: Host
  readonly ask: Remote<BoxMethods>
  readonly thread: NamespaceThread<BoxMethods>
}

/** Hands for a host. They end with the program. */
export function boxOf(host: Host): Box {
  const thread = threadIn<BoxMethods>(host, new URL('./box-worker.ts', import.meta.url))
  return { host, ask: thread.ask, thread }
}
