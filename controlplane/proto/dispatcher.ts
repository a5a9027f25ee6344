// dispatcher.proto's messages and service under one roof. `Output` is what arrives: every field is
// there. The other form is what may be sent: fields left out have their default.

import type { ProtoGrpcType } from './generated/dispatcher.ts'
import type { DispatcherDefinition } from './generated/weft/dispatcher/Dispatcher.ts'
import { loadProto } from './load.ts'

export type { AssignmentsMessage__Output } from './generated/weft/dispatcher/AssignmentsMessage.ts'
export type { AssignmentsRequest__Output } from './generated/weft/dispatcher/AssignmentsRequest.ts'
export type {
  AttachRequest,
  AttachRequest__Output,
} from './generated/weft/dispatcher/AttachRequest.ts'
export type { AttachResponse__Output } from './generated/weft/dispatcher/AttachResponse.ts'
export type { Change__Output } from './generated/weft/dispatcher/Change.ts'
export type { DescribeRequest__Output } from './generated/weft/dispatcher/DescribeRequest.ts'
export type { Description, Description__Output } from './generated/weft/dispatcher/Description.ts'
export type { DetachRequest__Output } from './generated/weft/dispatcher/DetachRequest.ts'
export type { DispatcherClient } from './generated/weft/dispatcher/Dispatcher.ts'
export type { FindNetworkRequest__Output } from './generated/weft/dispatcher/FindNetworkRequest.ts'
export type {
  HeartbeatRequest,
  HeartbeatRequest__Output,
} from './generated/weft/dispatcher/HeartbeatRequest.ts'
export type {
  HeartbeatResponse,
  HeartbeatResponse__Output,
} from './generated/weft/dispatcher/HeartbeatResponse.ts'
export type { ListenLogsRequest__Output } from './generated/weft/dispatcher/ListenLogsRequest.ts'
export type { LogBatch, LogBatch__Output } from './generated/weft/dispatcher/LogBatch.ts'
export type { LogMessage } from './generated/weft/dispatcher/LogMessage.ts'
export type {
  LogSubscription,
  LogSubscription__Output,
} from './generated/weft/dispatcher/LogSubscription.ts'
export type {
  SessionMessage,
  SessionMessage__Output,
} from './generated/weft/dispatcher/SessionMessage.ts'
export type { SessionRequest__Output } from './generated/weft/dispatcher/SessionRequest.ts'
export type {
  UpdateTaskStatusRequest,
  UpdateTaskStatusRequest__Output,
} from './generated/weft/dispatcher/UpdateTaskStatusRequest.ts'

type Package = ProtoGrpcType['weft']['dispatcher']

let loaded: Package | null = null

function dispatcherPackage(): Package {
  loaded ??= loadProto<ProtoGrpcType>('dispatcher.proto').weft.dispatcher
  return loaded
}

/** Methods with their paths and encodings. */
export function dispatcherService(): DispatcherDefinition {
  return dispatcherPackage().Dispatcher.service
}

/** Class of the clients. */
export function dispatcherClient(): Package['Dispatcher'] {
  return dispatcherPackage().Dispatcher
}
