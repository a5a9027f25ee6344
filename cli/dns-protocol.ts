// What the main thread and the name server's thread say to each other.

import type { Transport } from '../controlplane/agent/dns/answerer.ts'
import type { DnsCounts } from '../controlplane/agent/dns/server.ts'
import type { DnsTables } from '../controlplane/agent/dns/zone.ts'

export interface DnsWorkerData {
  /** Of the generator that decides the order of addresses. */
  readonly seed: number
}

export type ToDns =
  | { readonly kind: 'tables'; readonly tables: DnsTables }
  /** What somebody outside answered; null = nobody did. */
  | { readonly kind: 'outside'; readonly id: number; readonly answer: Uint8Array | null }
  | { readonly kind: 'counts' }
  | { readonly kind: 'stop' }

export type FromDns =
  /** The thread's network namespace, as a path. */
  | { readonly kind: 'ready'; readonly namespace: string }
  | { readonly kind: 'failed'; readonly message: string }
  | {
      readonly kind: 'ask-outside'
      readonly id: number
      readonly query: Uint8Array
      readonly transport: Transport
    }
  | { readonly kind: 'counts'; readonly counts: DnsCounts }
  | { readonly kind: 'stopped' }
