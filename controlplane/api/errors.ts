// Errors of the API: a status and the words that the docker CLI prints behind "Error response from
// daemon:". What a real manager says passes gRPC on its way and keeps that mark; so do we, because
// clients look for it. moby, daemon/server/httpstatus maps the codes.

import { StoreError, type StoreErrorCode } from '../store/contract.ts'

export class ApiError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.name = 'ApiError'
    this.status = status
  }
}

type RpcCode =
  | 'Unknown'
  | 'InvalidArgument'
  | 'DeadlineExceeded'
  | 'NotFound'
  | 'AlreadyExists'
  | 'FailedPrecondition'
  | 'Unimplemented'
  | 'Internal'
  | 'Unavailable'
  | 'ResourceExhausted'

const STATUS: Readonly<Record<RpcCode, number>> = {
  Unknown: 500,
  InvalidArgument: 400,
  DeadlineExceeded: 500,
  NotFound: 404,
  AlreadyExists: 409,
  FailedPrecondition: 400,
  Unimplemented: 501,
  Internal: 500,
  Unavailable: 503,
  ResourceExhausted: 500,
}

/** An error that a manager would have sent as a gRPC status. */
export function rpcError(code: RpcCode, description: string): ApiError {
  return new ApiError(STATUS[code], `rpc error: code = ${code} desc = ${description}`)
}

export const invalidArgument = (description: string): ApiError =>
  rpcError('InvalidArgument', description)

export const failedPrecondition = (description: string): ApiError =>
  rpcError('FailedPrecondition', description)

export const badRequest = (message: string): ApiError => new ApiError(400, message)

export const notFound = (noun: string, id: string): ApiError =>
  new ApiError(404, `${noun} ${id} not found`)

export const noLeader = (): ApiError =>
  rpcError(
    'Unknown',
    "The swarm does not have a leader. It's possible that too few managers are online. " +
      'Make sure more than half of the managers are online.',
  )

const MANAGER_HINT = 'This node is not a swarm manager.'

/** Why a request for the cluster cannot be served here; each is a 503. */
export const NOT_MANAGER: Readonly<Record<'inactive' | 'worker' | 'preparing' | 'locked', string>> =
  {
    inactive:
      `${MANAGER_HINT} Use "docker swarm init" or "docker swarm join" to connect this node to ` +
      'swarm and try again.',
    worker:
      `${MANAGER_HINT} Worker nodes can't be used to view or modify cluster state. ` +
      'Please run this command on a manager node or promote the current node to a manager.',
    preparing:
      'This node is not a swarm manager. Manager is being prepared or has trouble connecting to ' +
      'the cluster.',
    locked:
      'Swarm is encrypted and needs to be unlocked before it can be used. ' +
      'Please use "docker swarm unlock" to unlock it.',
  }

const STORE_ERRORS: Readonly<Record<StoreErrorCode, (message: string) => ApiError>> = {
  exists: (message) => rpcError('AlreadyExists', message),
  'not-found': (message) => rpcError('NotFound', message),
  'name-conflict': (message) => rpcError('AlreadyExists', message),
  'out-of-sequence': () => rpcError('Unknown', 'update out of sequence'),
  'too-large': () =>
    rpcError('InvalidArgument', "raft: raft message is too large and can't be sent"),
  'not-leader': noLeader,
  'lost-leadership': () =>
    rpcError(
      'Unknown',
      'leadership was lost while the request was under way: look before trying again',
    ),
  overloaded: () => rpcError('Unavailable', 'the manager is overloaded: try again'),
  'shut-down': () => new ApiError(503, NOT_MANAGER.preparing),
}

/** Codes of errors from the layers beside the API, named as gRPC names them. */
const OTHER_CODES: Readonly<Record<string, RpcCode>> = {
  INVALID_ARGUMENT: 'InvalidArgument',
  NOT_FOUND: 'NotFound',
  FAILED_PRECONDITION: 'FailedPrecondition',
  UNIMPLEMENTED: 'Unimplemented',
  UNAVAILABLE: 'Unavailable',
  DEADLINE_EXCEEDED: 'DeadlineExceeded',
  RESOURCE_EXHAUSTED: 'ResourceExhausted',
}

/** What the client is told of `error`, whatever it is. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof StoreError) return STORE_ERRORS[error.code](error.message)
  const code = (error as { readonly code?: unknown } | null)?.code
  if (typeof code === 'string' && Object.hasOwn(OTHER_CODES, code)) {
    return rpcError(OTHER_CODES[code]!, (error as Error).message)
  }
  return new ApiError(500, error instanceof Error ? error.message : String(error))
}
