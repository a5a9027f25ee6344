// A sniffer: a thread that listens to one interface of the lab's own namespace (a bridge's port
// towards a host) through a packet socket, and looks for a sentence in what passes. It belongs to
// nobody whom it watches, so that "nothing readable passed" does not rest on the word of the
// agents.

import { endThread, startThread } from './thread.ts'

export interface SnifferOrder {
  readonly device: string
  readonly marker: string
  readonly durationMs: number
}

export interface Sight {
  readonly packets: number
  readonly bytes: number
  /** Packets in which the marker stood. */
  readonly readable: number
  /** UDP datagrams to or from the underlay's port among the packets. */
  readonly tunnelled: number
  readonly error?: string
}

/** Listens on `device` for `durationMs` and reports what passed. Rejects when it may not listen. */
export function sniff(device: string, marker: string, durationMs: number): Promise<Sight> {
  return new Promise((resolve, reject) => {
    const order = { device, marker, durationMs } satisfies SnifferOrder
    const thread = startThread<Sight>(
      new URL('./sniffer-worker.ts', import.meta.url),
      order,
      (sight) => {
        if (sight.error === undefined) resolve(sight)
        else reject(new Error(sight.error))
        endThread(thread)
      },
    )
    thread.worker.on('error', reject)
  })
}
