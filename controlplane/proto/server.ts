// The one gRPC server of a node: every service of the control plane is registered on it, on one
// port.
//
// Before a handler sees a call, `authorize` is asked: by the method's full name and the verified
// caller, if there is one. That is the only gate; services do not check roles themselves. What a
// handler checks beyond it (whom a member may speak for, say) it does by `peerOf(call)`. When what
// callers may do has changed, recheck() asks again about the calls that stand (standing.ts).
//
// Changing the certificate goes through the IdentityHolder and touches no connection that stands.

import {
  logVerbosity,
  Server,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServiceDefinition,
  setLogVerbosity,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import type { Clock } from '../../base/clock.ts'
import { serverCredentials } from './credentials.ts'
import type { IdentityHolder } from './identity.ts'
import * as limits from './limits.ts'
import { type Callee, type Peer, peerOf } from './peer.ts'
import { type CallRefusal, type StandingCall, StandingCalls } from './standing.ts'

// Lines that grpc-js writes to standard error by itself are no lines of the log, and say nothing
// that the errors which it returns do not say.
setLogVerbosity(logVerbosity.NONE)

export type { CallRefusal } from './standing.ts'

/** Null to let the call through. `method` is like `/weft.raft.Raft/Converse`; `peer` is null for a
 * caller without a certificate that is believed. */
export type Authorize = (peer: Peer | null, method: string) => CallRefusal | null

export interface RpcServerOptions {
  readonly identity: IdentityHolder
  readonly authorize: Authorize
  readonly clock: Clock
}

export class RpcServer {
  readonly #server: Server
  readonly #options: RpcServerOptions
  readonly #standing = new StandingCalls()

  constructor(options: RpcServerOptions) {
    this.#options = options
    this.#server = new Server({
      interceptors: [gate(options, this.#standing)],
      'grpc.enable_channelz': 0,
      'grpc.max_send_message_length': limits.MESSAGE_BYTES_MAX,
      'grpc.max_receive_message_length': limits.MESSAGE_BYTES_MAX,
      'grpc.max_concurrent_streams': limits.CALLS_PER_CONNECTION_MAX,
      'grpc.keepalive_time_ms': limits.SERVER_KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': limits.KEEPALIVE_TIMEOUT_MS,
      'grpc.max_connection_idle_ms': limits.CONNECTION_IDLE_MS,
      'grpc-node.max_session_memory': limits.SESSION_MEMORY_MB,
      'grpc-node.flow_control_window': limits.FLOW_WINDOW_BYTES,
    })
  }

  /** At any time, but once for each service. `handlers` has one function for each of the service's
   * methods. */
  addService(service: ServiceDefinition, handlers: UntypedServiceImplementation): void {
    this.#server.addService(service, handlers)
  }

  /** Its methods are unknown from now on; calls that run go on. */
  removeService(service: ServiceDefinition): void {
    this.#server.removeService(service)
  }

  /** Listens on `address` (`127.0.0.1:2377`, `[::1]:0`) and resolves to the port. May be called for
   * several addresses. Rejects if an address cannot be had. */
  listen(address: string): Promise<number> {
    const credentials = serverCredentials(this.#options.identity)
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(address, credentials, (error, port) => {
        if (error === null) resolve(port)
        else reject(new Error(bindWords(error.message)))
      })
    })
  }

  /** The caller of a handler's `call`, as `authorize` saw it; null again once its certificate has
   * run out, which long calls have to ask for. */
  peerOf(call: Callee): Peer | null {
    return peerOf(call, this.#options.clock.wallMs())
  }

  /** To be called when `isOut` has become true of a caller: it is not what its certificate says.
   * Its calls are judged again; those that `authorize` refuses by now end with its refusal, and a
   * connection that has none left is closed. */
  recheck(isOut: (peer: Peer) => boolean): void {
    this.#standing.recheck(this.#options.authorize, isOut)
  }

  /** Takes no more calls, gives those that run a moment to end, then cuts them off. */
  async close(): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()))
    const timer = setTimeout(() => this.#server.forceShutdown(), limits.CLOSE_GRACE_MS)
    await ended
    clearTimeout(timer)
  }
}

const BIND_WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'address already in use',
  EADDRNOTAVAIL: 'cannot assign requested address',
  EACCES: 'permission denied',
}

/** The one cause in what grpc-js says of an address that cannot be had, in Docker's words. */
function bindWords(message: string): string {
  const code = /\bE[A-Z]{3,}\b/.exec(message)?.[0] ?? ''
  return BIND_WORDS[code] === undefined ? message : `bind: ${BIND_WORDS[code]}`
}

function gate({ authorize, clock }: RpcServerOptions, standing: StandingCalls): ServerInterceptor {
  return (method, call) => {
    let standingCall: StandingCall | null = null
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            const peer = peerOf(call, clock.wallMs())
            const refusal = authorize(peer, method.path)
            if (refusal !== null) {
              call.sendStatus({ ...refusal })
              return
            }
            if (peer !== null) {
              standingCall = standing.begin(call, peer, method.path, (why) =>
                call.sendStatus({ ...why }),
              )
            }
            pass(metadata)
          },
          onCancel: () => standingCall?.ended(),
        }),
      sendMessage: (message, next) => {
        if (standingCall?.isRefused !== true) next(message)
      },
    })
  }
}
