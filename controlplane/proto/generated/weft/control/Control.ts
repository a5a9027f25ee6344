// Original file: controlplane/proto/control.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { JoinAnswer as _weft_control_JoinAnswer, JoinAnswer__Output as _weft_control_JoinAnswer__Output } from '../../weft/control/JoinAnswer.ts';
import type { JoinRequest as _weft_control_JoinRequest, JoinRequest__Output as _weft_control_JoinRequest__Output } from '../../weft/control/JoinRequest.ts';
import type { MembersAnswer as _weft_control_MembersAnswer, MembersAnswer__Output as _weft_control_MembersAnswer__Output } from '../../weft/control/MembersAnswer.ts';
import type { MembersRequest as _weft_control_MembersRequest, MembersRequest__Output as _weft_control_MembersRequest__Output } from '../../weft/control/MembersRequest.ts';
import type { RequestPart as _weft_control_RequestPart, RequestPart__Output as _weft_control_RequestPart__Output } from '../../weft/control/RequestPart.ts';
import type { ResponsePart as _weft_control_ResponsePart, ResponsePart__Output as _weft_control_ResponsePart__Output } from '../../weft/control/ResponsePart.ts';

export interface ControlClient extends grpc.Client {
  Join(argument: _weft_control_JoinRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  Join(argument: _weft_control_JoinRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  Join(argument: _weft_control_JoinRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  Join(argument: _weft_control_JoinRequest, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  join(argument: _weft_control_JoinRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  join(argument: _weft_control_JoinRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  join(argument: _weft_control_JoinRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  join(argument: _weft_control_JoinRequest, callback: grpc.requestCallback<_weft_control_JoinAnswer__Output>): grpc.ClientUnaryCall;
  
  Members(argument: _weft_control_MembersRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  Members(argument: _weft_control_MembersRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  Members(argument: _weft_control_MembersRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  Members(argument: _weft_control_MembersRequest, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  members(argument: _weft_control_MembersRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  members(argument: _weft_control_MembersRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  members(argument: _weft_control_MembersRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  members(argument: _weft_control_MembersRequest, callback: grpc.requestCallback<_weft_control_MembersAnswer__Output>): grpc.ClientUnaryCall;
  
  Request(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_control_RequestPart, _weft_control_ResponsePart__Output>;
  Request(options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_control_RequestPart, _weft_control_ResponsePart__Output>;
  request(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_control_RequestPart, _weft_control_ResponsePart__Output>;
  request(options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_control_RequestPart, _weft_control_ResponsePart__Output>;
  
}

export interface ControlHandlers extends grpc.UntypedServiceImplementation {
  Join: grpc.handleUnaryCall<_weft_control_JoinRequest__Output, _weft_control_JoinAnswer>;
  
  Members: grpc.handleUnaryCall<_weft_control_MembersRequest__Output, _weft_control_MembersAnswer>;
  
  Request: grpc.handleBidiStreamingCall<_weft_control_RequestPart__Output, _weft_control_ResponsePart>;
  
}

export interface ControlDefinition extends grpc.ServiceDefinition {
  Join: MethodDefinition<_weft_control_JoinRequest, _weft_control_JoinAnswer, _weft_control_JoinRequest__Output, _weft_control_JoinAnswer__Output>
  Members: MethodDefinition<_weft_control_MembersRequest, _weft_control_MembersAnswer, _weft_control_MembersRequest__Output, _weft_control_MembersAnswer__Output>
  Request: MethodDefinition<_weft_control_RequestPart, _weft_control_ResponsePart, _weft_control_RequestPart__Output, _weft_control_ResponsePart__Output>
}
