import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { ControlClient as _weft_control_ControlClient, ControlDefinition as _weft_control_ControlDefinition } from './weft/control/Control.ts';
import type { JoinAnswer as _weft_control_JoinAnswer, JoinAnswer__Output as _weft_control_JoinAnswer__Output } from './weft/control/JoinAnswer.ts';
import type { JoinRequest as _weft_control_JoinRequest, JoinRequest__Output as _weft_control_JoinRequest__Output } from './weft/control/JoinRequest.ts';
import type { Member as _weft_control_Member, Member__Output as _weft_control_Member__Output } from './weft/control/Member.ts';
import type { MembersAnswer as _weft_control_MembersAnswer, MembersAnswer__Output as _weft_control_MembersAnswer__Output } from './weft/control/MembersAnswer.ts';
import type { MembersRequest as _weft_control_MembersRequest, MembersRequest__Output as _weft_control_MembersRequest__Output } from './weft/control/MembersRequest.ts';
import type { RequestHead as _weft_control_RequestHead, RequestHead__Output as _weft_control_RequestHead__Output } from './weft/control/RequestHead.ts';
import type { RequestPart as _weft_control_RequestPart, RequestPart__Output as _weft_control_RequestPart__Output } from './weft/control/RequestPart.ts';
import type { ResponseHead as _weft_control_ResponseHead, ResponseHead__Output as _weft_control_ResponseHead__Output } from './weft/control/ResponseHead.ts';
import type { ResponsePart as _weft_control_ResponsePart, ResponsePart__Output as _weft_control_ResponsePart__Output } from './weft/control/ResponsePart.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  weft: {
    control: {
      Control: SubtypeConstructor<typeof grpc.Client, _weft_control_ControlClient> & { service: _weft_control_ControlDefinition }
      JoinAnswer: MessageTypeDefinition<_weft_control_JoinAnswer, _weft_control_JoinAnswer__Output>
      JoinRequest: MessageTypeDefinition<_weft_control_JoinRequest, _weft_control_JoinRequest__Output>
      Member: MessageTypeDefinition<_weft_control_Member, _weft_control_Member__Output>
      MembersAnswer: MessageTypeDefinition<_weft_control_MembersAnswer, _weft_control_MembersAnswer__Output>
      MembersRequest: MessageTypeDefinition<_weft_control_MembersRequest, _weft_control_MembersRequest__Output>
      RequestHead: MessageTypeDefinition<_weft_control_RequestHead, _weft_control_RequestHead__Output>
      RequestPart: MessageTypeDefinition<_weft_control_RequestPart, _weft_control_RequestPart__Output>
      ResponseHead: MessageTypeDefinition<_weft_control_ResponseHead, _weft_control_ResponseHead__Output>
      ResponsePart: MessageTypeDefinition<_weft_control_ResponsePart, _weft_control_ResponsePart__Output>
    }
  }
}

