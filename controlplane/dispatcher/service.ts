// The dispatcher behind gRPC: dispatcher.proto's service on the node's one server. Who calls is who
// the certificate says; a node id in a message would not be believed, so there is none.

import type {
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  sendUnaryData,
} from '@grpc/grpc-js'
import { Metadata, status as Status, type UntypedServiceImplementation } from '@grpc/grpc-js'
import type {
  AssignmentsRequest__Output,
  AttachRequest__Output,
  DescribeRequest__Output,
  Description__Output,
  DetachRequest__Output,
  FindNetworkRequest__Output,
  HeartbeatRequest__Output,
  HeartbeatResponse,
  ListenLogsRequest__Output,
  LogBatch__Output,
  LogSubscription,
  SessionMessage,
  SessionRequest__Output,
  UpdateTaskStatusRequest__Output,
} from '../proto/dispatcher.ts'
import { dispatcherService } from '../proto/dispatcher.ts'
import type { Callee, Peer } from '../proto/peer.ts'
import type { Described, Dispatcher } from './dispatcher.ts'
import { DispatchError, type RefusalCode } from './errors.ts'

export interface DispatcherServiceParts {
  /** The running dispatcher; null on a manager that does not lead. */
  readonly dispatcher: () => Dispatcher | null
  /** "address:port" of the leader, where it is known. */
  readonly leader: () => string | null
  readonly peerOf: (call: Callee) => Peer | null
}

const CODES: Readonly<Record<RefusalCode, Status>> = {
  unavailable: Status.UNAVAILABLE,
  'invalid-argument': Status.INVALID_ARGUMENT,
  'not-found': Status.NOT_FOUND,
  'permission-denied': Status.PERMISSION_DENIED,
  unauthenticated: Status.UNAUTHENTICATED,
  'resource-exhausted': Status.RESOURCE_EXHAUSTED,
}

/** Metadata that names the leader. */
export const LEADER_METADATA = 'weft-leader'

/** To be registered with RpcServer.addService(). Its stream of assignments takes bytes that are
 * encoded already (proto/assignment-bytes.ts). */
export function dispatcherDefinition(): ServiceDefinition {
  const service = dispatcherService()
  const Assignments = {
    ...service.Assignments,
    responseSerialize: (bytes: unknown) => bytes as Buffer,
  }
  return { ...service, Assignments } as unknown as ServiceDefinition
}

type Writable<Request, Response> = ServerWritableStream<Request, Response>

export function dispatcherHandlers(parts: DispatcherServiceParts): UntypedServiceImplementation {
  const caller = (call: Callee): { dispatcher: Dispatcher; nodeId: string } => {
    const dispatcher = parts.dispatcher()
    if (dispatcher === null) throw new DispatchError('unavailable', 'this manager does not lead')
    const peer = parts.peerOf(call)
    if (peer === null) throw new DispatchError('unauthenticated', 'who calls is not known')
    return { dispatcher, nodeId: peer.nodeId }
  }
  const refusal = (error: unknown): object => refusalOf(error, parts.leader())
  return {
    Session: (call: Writable<SessionRequest__Output, SessionMessage>) =>
      streaming(call, refusal, (end) => {
        const { dispatcher, nodeId } = caller(call)
        const write = (message: SessionMessage): void => void call.write(message)
        const described = describedBy(call.request.description)
        return dispatcher.session(nodeId, described, hostOf(call.getPeer()), { write, end })
      }),
    Assignments: (call: Writable<AssignmentsRequest__Output, Buffer>) =>
      streaming(call, refusal, (end) => {
        const { dispatcher, nodeId } = caller(call)
        const write = (bytes: Buffer): boolean => call.write(bytes)
        const feed = dispatcher.assignments(nodeId, call.request.sessionId, { write, end })
        call.on('drain', () => feed.onDrain())
        return () => feed.close()
      }),
    ListenLogs: (call: Writable<ListenLogsRequest__Output, LogSubscription>) =>
      streaming(call, refusal, (end) => {
        const { dispatcher, nodeId } = caller(call)
        const detach = dispatcher.attach(nodeId, call.request.sessionId, { end })
        const write = (message: LogSubscription): void => void call.write(message)
        const deafen = dispatcher.logs.listen(nodeId, { write })
        return () => {
          detach()
          deafen()
        }
      }),
    Heartbeat: (call: ServerDuplexStream<HeartbeatRequest__Output, HeartbeatResponse>) =>
      heartbeats(call, caller, refusal),
    Describe: unary(refusal, (call: ServerUnaryCall<DescribeRequest__Output, unknown>) => {
      const { dispatcher, nodeId } = caller(call)
      dispatcher.describe(nodeId, call.request.sessionId, describedBy(call.request.description))
      return {}
    }),
    UpdateTaskStatus: unary(
      refusal,
      (call: ServerUnaryCall<UpdateTaskStatusRequest__Output, unknown>) => {
        const { dispatcher, nodeId } = caller(call)
        dispatcher.updateTaskStatus(nodeId, call.request.sessionId, call.request.updates)
        return {}
      },
    ),
    ...attachmentHandlers(caller, refusal),
    PublishLogs: (
      call: ServerReadableStream<LogBatch__Output, object>,
      answer: sendUnaryData<object>,
    ) => publishLogs(call, answer, caller, refusal),
  }
}

type Caller = (call: Callee) => { dispatcher: Dispatcher; nodeId: string }

function attachmentHandlers(
  caller: Caller,
  refusal: (error: unknown) => object,
): UntypedServiceImplementation {
  return {
    FindNetwork: later(
      refusal,
      async (call: ServerUnaryCall<FindNetworkRequest__Output, unknown>) => {
        const { dispatcher, nodeId } = caller(call)
        const attachments = dispatcher.attachmentsOf(nodeId, call.request.sessionId)
        return { network: Buffer.from(JSON.stringify(attachments.find(call.request.network))) }
      },
    ),
    Attach: later(refusal, async (call: ServerUnaryCall<AttachRequest__Output, unknown>) => {
      const { dispatcher, nodeId } = caller(call)
      const attachments = dispatcher.attachmentsOf(nodeId, call.request.sessionId)
      return { taskId: await attachments.attach(nodeId, call.request) }
    }),
    Detach: later(refusal, async (call: ServerUnaryCall<DetachRequest__Output, unknown>) => {
      const { dispatcher, nodeId } = caller(call)
      const attachments = dispatcher.attachmentsOf(nodeId, call.request.sessionId)
      await attachments.detach(nodeId, call.request.taskId)
      return {}
    }),
  }
}

function publishLogs(
  call: ServerReadableStream<LogBatch__Output, object>,
  answer: sendUnaryData<object>,
  caller: Caller,
  refusal: (error: unknown) => object,
): void {
  let isOver = false
  const finish = (error: unknown): void => {
    if (isOver) return
    isOver = true
    if (error === null) answer(null, {})
    else answer(refusal(error))
  }
  call.on('data', (batch: LogBatch__Output) => {
    if (isOver) return
    try {
      const { dispatcher, nodeId } = caller(call)
      if (!dispatcher.logs.publish(nodeId, batch, () => call.resume())) call.pause()
    } catch (error) {
      finish(error)
    }
  })
  call.on('end', () => finish(null))
  call.on('error', () => {
    isOver = true
  })
  call.on('cancelled', () => {
    isOver = true
  })
}

function heartbeats(
  call: ServerDuplexStream<HeartbeatRequest__Output, HeartbeatResponse>,
  caller: Caller,
  refusal: (error: unknown) => object,
): void {
  let isOver = false
  const over = (): void => {
    isOver = true
  }
  call.on('data', (request: HeartbeatRequest__Output) => {
    if (isOver) return
    try {
      const { dispatcher, nodeId } = caller(call)
      // Who does not take the answers is not asked for more.
      if (call.write({ periodMs: dispatcher.heartbeat(nodeId, request) })) return
      call.pause()
      call.once('drain', () => call.resume())
    } catch (error) {
      over()
      call.emit('error', refusal(error))
    }
  })
  call.on('end', () => {
    if (!isOver) call.end()
    over()
  })
  call.on('cancelled', over)
  call.on('error', over)
}

/** A call that the server writes to. `open` returns what is to be done when it has ended. */
function streaming(
  call: Writable<unknown, unknown>,
  refusal: (error: unknown) => object,
  open: (end: (error: DispatchError | null) => void) => () => void,
): void {
  let isOver = false
  let close = (): void => {}
  const over = (): void => {
    if (isOver) return
    isOver = true
    close()
  }
  const end = (error: unknown): void => {
    if (isOver) return
    over()
    if (error === null) call.end()
    else call.emit('error', refusal(error))
  }
  call.on('cancelled', over)
  call.on('close', over)
  call.on('error', over)
  try {
    close = open(end)
    if (isOver) close()
  } catch (error) {
    end(error)
  }
}

function unary<Request>(
  refusal: (error: unknown) => object,
  handle: (call: ServerUnaryCall<Request, unknown>) => object,
) {
  return (call: ServerUnaryCall<Request, unknown>, answer: sendUnaryData<object>): void => {
    let response: object
    try {
      response = handle(call)
    } catch (error) {
      answer(refusal(error))
      return
    }
    answer(null, response)
  }
}

/** A unary call that is answered when the cluster has agreed. */
function later<Request>(
  refusal: (error: unknown) => object,
  handle: (call: ServerUnaryCall<Request, unknown>) => Promise<object>,
) {
  return (call: ServerUnaryCall<Request, unknown>, answer: sendUnaryData<object>): void => {
    handle(call).then(
      (response) => answer(null, response),
      (error: unknown) => answer(refusal(error)),
    )
  }
}

function refusalOf(error: unknown, leader: string | null): object {
  const metadata = new Metadata()
  if (!(error instanceof DispatchError)) {
    return { code: Status.INTERNAL, details: (error as Error).message, metadata }
  }
  if (error.code === 'unavailable' && leader !== null) metadata.set(LEADER_METADATA, leader)
  return { code: CODES[error.code], details: error.message, metadata }
}

function describedBy(description: Description__Output | null): Described {
  if (description === null) throw new DispatchError('invalid-argument', 'there is no description')
  return description
}

/** The address of "ADDRESS:PORT", as Docker shows it. */
function hostOf(peer: string): string {
  const host = peer.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
  return host.startsWith('::ffff:') ? host.slice('::ffff:'.length) : host
}
