// What a route is: method, pattern, where it runs, and the handler. A `{}` in the pattern stands
// for one part of the path.
//
// `here`: on this node, whatever it is. `read`: on any manager, after a read barrier. `write`: on
// the leader.

import type { Store } from '../store/contract.ts'
import type { Call, Environment, Handler, Reply } from './call.ts'
import type { ApiResponse } from './node-control.ts'

export type ClusterHandler = (
  call: Call,
  env: Environment,
  store: Store,
) => Reply | Promise<Reply | ApiResponse>

export type Route =
  | {
      readonly method: string
      readonly pattern: string
      readonly where: 'here'
      readonly handle: Handler
    }
  | {
      readonly method: string
      readonly pattern: string
      readonly where: 'read' | 'write'
      readonly handle: ClusterHandler
    }

export function here(method: string, pattern: string, handle: Handler): Route {
  return { method, pattern, where: 'here', handle }
}

export function read(pattern: string, handle: ClusterHandler): Route {
  return { method: 'GET', pattern, where: 'read', handle }
}

export function write(method: string, pattern: string, handle: ClusterHandler): Route {
  return { method, pattern, where: 'write', handle }
}
