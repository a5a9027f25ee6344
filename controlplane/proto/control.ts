// control.proto's messages and service under one roof, as dispatcher.ts is for the dispatcher's.

import type { ProtoGrpcType } from './generated/control.ts'
import type { ControlDefinition } from './generated/weft/control/Control.ts'
import { loadProto } from './load.ts'

export type { ControlClient, ControlHandlers } from './generated/weft/control/Control.ts'
export type { JoinRequest__Output } from './generated/weft/control/JoinRequest.ts'
export type { MembersAnswer__Output } from './generated/weft/control/MembersAnswer.ts'
export type { RequestPart__Output } from './generated/weft/control/RequestPart.ts'
export type { ResponsePart, ResponsePart__Output } from './generated/weft/control/ResponsePart.ts'

type Package = ProtoGrpcType['weft']['control']

let loaded: Package | null = null

function controlPackage(): Package {
  loaded ??= loadProto<ProtoGrpcType>('control.proto').weft.control
  return loaded
}

export function controlService(): ControlDefinition {
  return controlPackage().Control.service
}

/** Class of the clients. */
export function controlClient(): Package['Control'] {
  return controlPackage().Control
}
