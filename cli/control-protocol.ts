// What is said over the agent's control socket: one JSON object per line each way.
//
//     {"id":1,"verb":"ipvs.timeouts","given":null}
//     {"id":1,"answer":[900,120,300]}
//     {"id":2,"verb":"ipvs.change","given":{...}}
//     {"id":2,"error":"changes[0].verb is not known"}
//
// The socket is <run-dir>/control.sock, for the agent's own user only. Requests of one connection
// are answered in order. To add a verb: a line in ControlVerbs and one in control-handlers.ts.

import type { DrainState } from '../dataplane/balanced-services.ts'
import type { ChangeResult } from '../dataplane/engine-handle.ts'
import type { ManualChange, ManualService } from '../dataplane/manual-services.ts'
import type { TimeoutSeconds } from '../dataplane/questions.ts'
import type { ConnectionPage, ServicePage, ServicePlace } from '../ipvs-emulator/listing.ts'

export const CONTROL_SOCKET_NAME: string = 'control.sock'

export interface AgentStatus {
  readonly version: string
  readonly processId: number
  /** Version of the tables that the packet loop runs; -1 before the first. */
  readonly tablesVersion: number
}

export interface ManualPage {
  readonly services: readonly ManualService[]
  /** Null = that was all; else where the next page begins. */
  readonly next: ServicePlace | null
}

/** The verbs: what is given and what is answered. */
export interface ControlVerbs {
  status: { given: null; answer: AgentStatus }
  /** Writes a backup of this manager into a new directory; of `weft up` alone. */
  backup: { given: { readonly directory: string }; answer: null }
  /** The flows that an endpoint still has on this node. */
  drain: { given: { readonly endpoint: string }; answer: DrainState }
  /** Services and their real servers as the balancer has them, a page at a time. */
  'ipvs.services': { given: ServicePlace; answer: ServicePage }
  /** Services added by hand as they were given, a page at a time. */
  'ipvs.manual': { given: ServicePlace; answer: ManualPage }
  'ipvs.connections': { given: { readonly from: number }; answer: ConnectionPage }
  'ipvs.capacity': { given: null; answer: number }
  'ipvs.timeouts': { given: null; answer: TimeoutSeconds }
  /** Zeros leave a timeout alone. */
  'ipvs.setTimeouts': { given: { readonly seconds: TimeoutSeconds }; answer: null }
  /** Null = all; false = there is no such service. */
  'ipvs.zero': { given: { readonly key: string | null }; answer: boolean }
  'ipvs.change': {
    given: { readonly changes: readonly ManualChange[]; readonly restoring: boolean }
    answer: ChangeResult
  }
}

export type ControlVerb = keyof ControlVerbs

export interface ControlRequest {
  readonly id: number
  readonly verb: string
  readonly given: unknown
}

export type ControlReply =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: string }

/** Reads a request; null when the line is none. */
export function parseRequest(line: string): ControlRequest | null {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null) return null
  const { id, verb, given } = value as Partial<ControlRequest>
  if (!Number.isSafeInteger(id) || typeof verb !== 'string') return null
  return { id: id as number, verb, given: given ?? null }
}

/** Reads a reply; null when the line is none. */
export function parseReply(line: string): ControlReply | null {
  try {
    const value = JSON.parse(line) as Partial<{ id: number; answer: unknown; error: string }>
    if (!Number.isSafeInteger(value.id)) return null
    const id = value.id as number
    if (typeof value.error === 'string') return { id, error: value.error }
    return 'answer' in value ? { id, answer: value.answer } : null
  } catch {
    return null
  }
}
