// The control service, the asking side.

import { type ServiceError, status as Status } from '@grpc/grpc-js'
import { noLeader, rpcError } from '../../controlplane/api/errors.ts'
import type { ApiRequest, ApiResponse } from '../../controlplane/api/node-control.ts'
import { managerOf } from '../../controlplane/ca/ca-rpc.ts'
import {
  type ControlClient,
  controlClient,
  type ResponsePart__Output,
} from '../../controlplane/proto/control.ts'
import { channelCredentials, channelOptions } from '../../controlplane/proto/credentials.ts'
import type { IdentityHolder } from '../../controlplane/proto/identity.ts'
import type { MemberAddress } from '../../controlplane/raft/shell/members.ts'
import { LEADER_METADATA, sendBody } from './control-service.ts'
import { CONTROL_CALL_MS, JOIN_CALL_MS } from './limits.ts'

/** Makes clients of managers of this swarm; they connect when they are used. */
export function controlClientTo(
  address: string,
  identity: IdentityHolder,
  clusterId: string,
): ControlClient {
  const Client = controlClient()
  return new Client(address, channelCredentials(identity, managerOf(clusterId)), channelOptions())
}

export function askMembers(client: ControlClient): Promise<readonly MemberAddress[]> {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + CONTROL_CALL_MS)
    client.Members({}, { deadline }, (error, answer) => {
      if (error !== null) reject(error)
      else resolve(answer!.members.map(({ id, address, nodeId }) => ({ id, address, nodeId })))
    })
  })
}

export function askToJoin(client: ControlClient, id: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + JOIN_CALL_MS)
    client.Join({ id, address }, { deadline }, (error) => {
      if (error !== null) reject(error)
      else resolve()
    })
  })
}

/** The leader's address, where an error names it. */
export function leaderNamed(error: unknown): string | null {
  const [address] = (error as Partial<ServiceError>).metadata?.get(LEADER_METADATA) ?? []
  return typeof address === 'string' && address !== '' ? address : null
}

/** Hands a request of the Engine API on. Rejects with an ApiError. */
export async function forwardRequest(
  client: ControlClient,
  request: ApiRequest,
): Promise<ApiResponse> {
  const call = client.Request()
  call.on('error', () => {})
  const cancel = (): void => call.cancel()
  request.signal.addEventListener('abort', cancel)
  const { method, path, headers } = request
  call.write({ head: { method, path, headers: { ...headers } } })
  sendBody(call, request.body, request.signal).then(
    () => call.end(),
    () => call.cancel(),
  )
  const parts = call[Symbol.asyncIterator]() as AsyncIterator<ResponsePart__Output>
  let first: IteratorResult<ResponsePart__Output>
  try {
    first = await parts.next()
  } catch (error) {
    throw forwardError(error as ServiceError)
  }
  const head = first.done === true ? null : first.value.head
  if (head === null || head === undefined) throw rpcError('Internal', 'an answer without a head')
  const end = (): void => {
    request.signal.removeEventListener('abort', cancel)
    call.cancel()
  }
  return { status: head.status, headers: head.headers, body: bodyOf(parts, end) }
}

async function* bodyOf(
  parts: AsyncIterator<ResponsePart__Output>,
  end: () => void,
): AsyncGenerator<Uint8Array> {
  try {
    for (;;) {
      const next = await parts.next()
      if (next.done === true) return
      if (next.value.body.length > 0) yield next.value.body
    }
  } finally {
    end()
  }
}

/** `UNAVAILABLE` says that nothing was done only when the leader refused; a connection that broke
 * under way says nothing, and the client must look before it tries again. */
function forwardError(error: ServiceError): Error {
  if (error.code === Status.UNAVAILABLE && error.details.includes('does not lead')) {
    return noLeader()
  }
  if (error.code === Status.RESOURCE_EXHAUSTED) return rpcError('ResourceExhausted', error.details)
  return rpcError('Unavailable', `the leader did not answer: ${error.details}`)
}
