// The CA on gRPC, the servers' side: the calls of service.ts as handlers, and the hand-over of a
// request from a manager that does not lead to the one that does.

import {
  type ClientUnaryCall,
  type ServiceDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { channelCredentials, channelOptions, type ServerCheck } from '../proto/credentials.ts'
import type { ProtoGrpcType } from '../proto/generated/ca.ts'
import type { CAHandlers } from '../proto/generated/weft/ca/CA.ts'
import type { ForwardHandlers } from '../proto/generated/weft/ca/Forward.ts'
import type { IssueAnswer__Output } from '../proto/generated/weft/ca/IssueAnswer.ts'
import type { IdentityHolder } from '../proto/identity.ts'
import { loadProto } from '../proto/load.ts'
import type { RpcServer } from '../proto/server.ts'
import { CaError, type CaErrorCode, words } from './errors.ts'
import { CALL_TIMEOUT_MS, SOURCE_LENGTH_MAX } from './limits.ts'
import { sourceOf } from './rate.ts'
import type { CaService, IssueOutcome, IssueRequest, Origin } from './service.ts'

const NO_ANSWER = `the manager did not answer within ${CALL_TIMEOUT_MS / 1000} s`

type Package = ProtoGrpcType['weft']['ca']

const loaded: Package = loadProto<ProtoGrpcType>('ca.proto').weft.ca
export const CA: Package['CA'] = loaded.CA
const Forward: Package['Forward'] = loaded.Forward

/** Puts the CA on a node's server. To be called before it listens. */
export function serveCa(server: RpcServer, service: CaService): void {
  const ca: CAHandlers = {
    GetRootCertificate: (_call, answer) => {
      reply(answer, async () => ({ certificate: service.rootCertificate() }))
    },
    IssueNodeCertificate: (call, answer) => {
      const peer = server.peerOf(call)
      reply(answer, () =>
        service.issue(call.request, { caller: peer, source: sourceOf(call.getPeer()) }),
      )
    },
  }
  const forward: ForwardHandlers = {
    IssueNodeCertificate: (call, answer) => {
      const { request, caller, source } = call.request
      reply(answer, async () => {
        if (request === null) throw new CaError('INVALID_ARGUMENT', 'there is no request')
        return service.issueHere(request, { caller, source: source.slice(0, SOURCE_LENGTH_MAX) })
      })
    },
  }
  server.addService(CA.service as ServiceDefinition, ca)
  server.addService(Forward.service as ServiceDefinition, forward)
}

type Answer<T> = (error: Pick<ServiceError, 'code' | 'details'> | null, value?: T) => void

async function reply<T>(answer: Answer<T>, work: () => Promise<T>): Promise<void> {
  let value: T
  try {
    value = await work()
  } catch (error) {
    // What is not a CaError is a fault of ours: its words are for the log of this node.
    const isOurs = error instanceof CaError
    const code = isOurs ? status[error.code] : status.INTERNAL
    answer({ code, details: isOurs ? error.message : 'internal error' })
    return
  }
  answer(null, value)
}

/** One call with one answer, given up after CALL_TIMEOUT_MS. It is not a gRPC deadline, because
 * that is a time of day, and the clocks of nodes that come here may be wrong. Rejects with CaError
 * of the call's own code. */
export function timed<T>(
  start: (done: (error: ServiceError | null, value?: T) => void) => ClientUnaryCall,
): Promise<T> {
  const signal = AbortSignal.timeout(CALL_TIMEOUT_MS)
  return new Promise((resolve, reject) => {
    const call = start((error, value) => {
      signal.removeEventListener('abort', cancel)
      if (error === null && value !== undefined) resolve(value)
      else if (signal.aborted) reject(new CaError('DEADLINE_EXCEEDED', NO_ANSWER, error))
      else reject(callError(error))
    })
    const cancel = (): void => call.cancel()
    signal.addEventListener('abort', cancel)
  })
}

function callError(error: ServiceError | null): CaError {
  if (error === null) return new CaError('INTERNAL', 'an answer without contents')
  const code = status[error.code] as CaErrorCode | undefined
  return new CaError(code ?? 'UNKNOWN', error.details || words(error), error)
}

/** Takes only managers of our own swarm for servers. */
export function managerOf(clusterId: string): ServerCheck {
  return (server) => {
    if (server.role !== 'swarm-manager') return 'the server is no manager'
    return server.clusterId === clusterId ? null : 'the server is of another swarm'
  }
}

export interface ForwarderOptions {
  readonly identity: IdentityHolder
  readonly clusterId: string
  /** Where the leader is ("address:port"), or null when there is none that this node knows. */
  readonly leader: () => string | null
}

/** Hands requests on to the leader; CaServiceOptions.forward of a manager. */
export class CaForwarder {
  readonly #options: ForwarderOptions
  #client: { readonly address: string; readonly rpc: InstanceType<typeof Forward> } | null = null

  constructor(options: ForwarderOptions) {
    this.#options = options
  }

  readonly forward = async (request: IssueRequest, origin: Origin): Promise<IssueOutcome> => {
    const rpc = this.#connect()
    const { caller, source } = origin
    const named =
      caller === null
        ? {}
        : { caller: { nodeId: caller.nodeId, role: caller.role, clusterId: caller.clusterId } }
    const answer = await timed<IssueAnswer__Output>((done) =>
      rpc.issueNodeCertificate({ request, ...named, source }, done),
    )
    return outcomeOf(answer)
  }

  close(): void {
    this.#client?.rpc.close()
    this.#client = null
  }

  #connect(): InstanceType<typeof Forward> {
    const { identity, clusterId, leader } = this.#options
    const address = leader()
    if (address === null) throw new CaError('UNAVAILABLE', 'the swarm does not have a leader')
    if (this.#client?.address !== address) {
      this.close()
      const credentials = channelCredentials(identity, managerOf(clusterId))
      this.#client = { address, rpc: new Forward(address, credentials, channelOptions()) }
    }
    return this.#client!.rpc
  }
}

export function outcomeOf(answer: IssueAnswer__Output): IssueOutcome {
  const { nodeId, state, certificate, error } = answer
  return { nodeId, state, certificate, error }
}
