// What the main thread and the packet loop's thread say to each other. The loop blocks in epoll, so
// a message to it is posted first and then announced by ringing its eventfd.

import type { BalancerRows } from '../dataplane/balanced-services.ts'
import type { CompiledTables } from '../dataplane/compiled.ts'
import type { CounterRow } from '../dataplane/counters.ts'
import type { Question } from '../dataplane/questions.ts'
import type { Restored } from '../dataplane/saved-flows.ts'
import type { IcmpHandle } from './icmp-sockets.ts'

/** An open device: descriptors belong to the process, so the number is all that the loop needs. */
export interface DeviceHandle {
  /** Endpoint's name; the mesh's TUN is not in the list. */
  readonly name: string
  readonly device: string
  readonly fd: number
  readonly mtu: number
}

export interface TablesMessage {
  readonly tables: CompiledTables
  readonly devices: readonly DeviceHandle[]
  readonly tun: DeviceHandle | null
  /** Where ICMP errors about published ports come from. */
  readonly errors: readonly IcmpHandle[]
  /** All devices take and give UDP super-packets. */
  readonly mergeUdp: boolean
}

export interface EngineWorkerData {
  readonly counters: SharedArrayBuffer
  readonly statistics: SharedArrayBuffer
  readonly wakeFd: number
  readonly first: TablesMessage
  /** Flows that an earlier agent saved; null = none. */
  readonly flows: Uint8Array<ArrayBuffer> | null
  /** Port name (or "underlay") and file, for packet captures. */
  readonly captures: readonly (readonly [string, string])[]
}

export type ToEngine =
  | { readonly kind: 'swap'; readonly next: TablesMessage }
  | { readonly kind: 'stop' }
  | { readonly kind: 'ask'; readonly question: Question }

export type FromEngine =
  | {
      readonly kind: 'ready' | 'swapped'
      readonly rows: readonly CounterRow[]
      readonly balancer: BalancerRows
    }
  /** What became of the flows that were given, before "ready". */
  | { readonly kind: 'restored'; readonly result: Restored | string }
  /** The flows, when the loop has ended in order. */
  | { readonly kind: 'flows'; readonly bytes: Uint8Array }
  /** To the one question that is open. */
  | { readonly kind: 'answer'; readonly answer: unknown }
  | {
      readonly kind: 'refused'
      readonly code: string
      readonly subject: string
      readonly sentence: string
    }
