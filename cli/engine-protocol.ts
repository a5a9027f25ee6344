// What the main thread and the packet loop's thread say to each other. The loop blocks in epoll, so
// a message to it is posted first and then announced by ringing its eventfd.

import type { CompiledTables } from '../dataplane/compiled.ts'
import type { CounterRow } from '../dataplane/counters.ts'

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
  /** All devices take and give UDP super-packets. */
  readonly mergeUdp: boolean
}

export interface EngineWorkerData {
  readonly counters: SharedArrayBuffer
  readonly wakeFd: number
  readonly first: TablesMessage
  /** Port name (or "underlay") and file, for packet captures. */
  readonly captures: readonly (readonly [string, string])[]
}

export type ToEngine =
  | { readonly kind: 'swap'; readonly next: TablesMessage }
  | { readonly kind: 'stop' }

export type FromEngine =
  | { readonly kind: 'ready'; readonly rows: readonly CounterRow[] }
  | { readonly kind: 'swapped'; readonly rows: readonly CounterRow[] }
  | {
      readonly kind: 'refused'
      readonly code: string
      readonly subject: string
      readonly sentence: string
    }
