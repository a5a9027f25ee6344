// The control service (controlplane/proto/control.proto), the answering side: a node becomes a
// member of the Raft group, and requests of the Engine API come to the leader. Who calls is a
// verified manager (ca/authorize.ts); what it may ask for beyond that is checked here.

import {
  Metadata,
  type ServerDuplexStream,
  type ServiceDefinition,
  type ServiceError,
  status as Status,
  type sendUnaryData,
} from '@grpc/grpc-js'
import type { ApiRequest, ApiResponse } from '../../controlplane/api/node-control.ts'
import {
  type ControlHandlers,
  controlService,
  type RequestPart__Output,
  type ResponsePart,
} from '../../controlplane/proto/control.ts'
import type { Callee, Peer } from '../../controlplane/proto/peer.ts'
import type { RpcServer } from '../../controlplane/proto/server.ts'
import { MemberError } from '../../controlplane/raft/shell/errors.ts'
import type { MemberAddress } from '../../controlplane/raft/shell/members.ts'
import { BODY_PART_BYTES, FORWARDED_REQUESTS_MAX } from './limits.ts'

export const LEADER_METADATA = 'weft-leader'

/** Why a call is refused. */
export class ControlError extends Error {
  readonly status: Status

  constructor(status: Status, message: string) {
    super(message)
    this.name = 'ControlError'
    this.status = status
  }
}

export interface ControlServiceParts {
  readonly isLeader: () => boolean
  /** "address:port" of the leader, where it is known. */
  readonly leader: () => string | null
  readonly members: () => readonly MemberAddress[]
  /** Makes the node a member. Rejects with ControlError or MemberError. */
  readonly join: (nodeId: string, id: number, address: string) => Promise<void>
  /** Never rejects. */
  readonly handle: (request: ApiRequest) => Promise<ApiResponse>
}

type RequestCall = ServerDuplexStream<RequestPart__Output, ResponsePart>

export function serveControl(server: RpcServer, parts: ControlServiceParts): void {
  const caller = (call: Callee): Peer => {
    const peer = server.peerOf(call)
    if (peer === null) throw new ControlError(Status.UNAUTHENTICATED, 'who calls is not known')
    return peer
  }
  const mustLead = (): void => {
    if (!parts.isLeader()) throw new ControlError(Status.UNAVAILABLE, 'this manager does not lead')
  }
  let running = 0
  const handlers: ControlHandlers = {
    Members: (_call, answer) => {
      const members = parts.members().map(({ id, address, nodeId }) => ({ id, address, nodeId }))
      answer(null, { members })
    },
    Join: (call, answer) =>
      void reply(answer, parts, async () => {
        const { nodeId } = caller(call)
        mustLead()
        await parts.join(nodeId, call.request.id, call.request.address)
        return {}
      }),
    Request: (call) => {
      if (!parts.isLeader() || running >= FORWARDED_REQUESTS_MAX) {
        const isBusy = parts.isLeader()
        const code = isBusy ? Status.RESOURCE_EXHAUSTED : Status.UNAVAILABLE
        const words = isBusy ? 'too many requests at once' : 'this manager does not lead'
        call.emit('error', refusal(new ControlError(code, words), parts))
        return
      }
      running += 1
      void answerRequest(call, parts).finally(() => {
        running -= 1
      })
    },
  }
  server.addService(controlService() as unknown as ServiceDefinition, handlers)
}

async function reply<T>(
  answer: sendUnaryData<T>,
  parts: ControlServiceParts,
  work: () => Promise<T>,
): Promise<void> {
  try {
    answer(null, await work())
  } catch (error) {
    answer(refusal(error, parts))
  }
}

function refusal(
  error: unknown,
  { leader }: ControlServiceParts,
): Pick<ServiceError, 'code' | 'details' | 'metadata'> {
  const metadata = new Metadata()
  const code = codeOf(error)
  const address = leader()
  if (code === Status.UNAVAILABLE && address !== null) metadata.set(LEADER_METADATA, address)
  return { code, details: (error as Error).message, metadata }
}

function codeOf(error: unknown): Status {
  if (error instanceof ControlError) return error.status
  if (!(error instanceof MemberError)) return Status.INTERNAL
  return error.code === 'bad-change' ? Status.FAILED_PRECONDITION : Status.UNAVAILABLE
}

async function answerRequest(call: RequestCall, parts: ControlServiceParts): Promise<void> {
  const abort = new AbortController()
  call.on('cancelled', () => abort.abort())
  call.on('error', () => abort.abort())
  const incoming = call[Symbol.asyncIterator]() as AsyncIterator<RequestPart__Output>
  try {
    const first = await incoming.next()
    const head = first.done === true ? null : first.value.head
    if (head === null || head === undefined) {
      throw new ControlError(Status.INVALID_ARGUMENT, 'a request begins with its head')
    }
    const { method, path, headers } = head
    const body = bodies(incoming)
    const response = await parts.handle({ method, path, headers, body, signal: abort.signal })
    call.write({ head: { status: response.status, headers: { ...response.headers } } })
    await sendBody(call, response.body, abort.signal)
    call.end()
  } catch (error) {
    if (!abort.signal.aborted) call.emit('error', refusal(error, parts))
  }
}

async function* bodies(incoming: AsyncIterator<RequestPart__Output>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const next = await incoming.next()
    if (next.done === true) return
    if (next.value.body.length > 0) yield next.value.body
  }
}

/** What both sides write a body to. */
export interface PartWriter {
  write(part: { body: Uint8Array }): boolean
  once(event: 'drain' | 'close', listener: () => void): unknown
  off(event: 'drain' | 'close', listener: () => void): unknown
}

/** Writes a body in parts, as fast as it is taken. */
export async function sendBody(
  call: PartWriter,
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length; at += BODY_PART_BYTES) {
      if (signal.aborted) return
      const isTaken = call.write({ body: chunk.subarray(at, at + BODY_PART_BYTES) })
      if (!isTaken) await drained(call, signal)
    }
  }
}

function drained(call: PartWriter, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      call.off('drain', end)
      call.off('close', end)
      signal.removeEventListener('abort', end)
      resolve()
    }
    call.once('drain', end)
    call.once('close', end)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
}
