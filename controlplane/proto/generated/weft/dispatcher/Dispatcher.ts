// Original file: controlplane/proto/dispatcher.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { AssignmentsMessage as _weft_dispatcher_AssignmentsMessage, AssignmentsMessage__Output as _weft_dispatcher_AssignmentsMessage__Output } from '../../weft/dispatcher/AssignmentsMessage.ts';
import type { AssignmentsRequest as _weft_dispatcher_AssignmentsRequest, AssignmentsRequest__Output as _weft_dispatcher_AssignmentsRequest__Output } from '../../weft/dispatcher/AssignmentsRequest.ts';
import type { AttachRequest as _weft_dispatcher_AttachRequest, AttachRequest__Output as _weft_dispatcher_AttachRequest__Output } from '../../weft/dispatcher/AttachRequest.ts';
import type { AttachResponse as _weft_dispatcher_AttachResponse, AttachResponse__Output as _weft_dispatcher_AttachResponse__Output } from '../../weft/dispatcher/AttachResponse.ts';
import type { DescribeRequest as _weft_dispatcher_DescribeRequest, DescribeRequest__Output as _weft_dispatcher_DescribeRequest__Output } from '../../weft/dispatcher/DescribeRequest.ts';
import type { DescribeResponse as _weft_dispatcher_DescribeResponse, DescribeResponse__Output as _weft_dispatcher_DescribeResponse__Output } from '../../weft/dispatcher/DescribeResponse.ts';
import type { DetachRequest as _weft_dispatcher_DetachRequest, DetachRequest__Output as _weft_dispatcher_DetachRequest__Output } from '../../weft/dispatcher/DetachRequest.ts';
import type { DetachResponse as _weft_dispatcher_DetachResponse, DetachResponse__Output as _weft_dispatcher_DetachResponse__Output } from '../../weft/dispatcher/DetachResponse.ts';
import type { FindNetworkRequest as _weft_dispatcher_FindNetworkRequest, FindNetworkRequest__Output as _weft_dispatcher_FindNetworkRequest__Output } from '../../weft/dispatcher/FindNetworkRequest.ts';
import type { FindNetworkResponse as _weft_dispatcher_FindNetworkResponse, FindNetworkResponse__Output as _weft_dispatcher_FindNetworkResponse__Output } from '../../weft/dispatcher/FindNetworkResponse.ts';
import type { HeartbeatRequest as _weft_dispatcher_HeartbeatRequest, HeartbeatRequest__Output as _weft_dispatcher_HeartbeatRequest__Output } from '../../weft/dispatcher/HeartbeatRequest.ts';
import type { HeartbeatResponse as _weft_dispatcher_HeartbeatResponse, HeartbeatResponse__Output as _weft_dispatcher_HeartbeatResponse__Output } from '../../weft/dispatcher/HeartbeatResponse.ts';
import type { ListenLogsRequest as _weft_dispatcher_ListenLogsRequest, ListenLogsRequest__Output as _weft_dispatcher_ListenLogsRequest__Output } from '../../weft/dispatcher/ListenLogsRequest.ts';
import type { LogBatch as _weft_dispatcher_LogBatch, LogBatch__Output as _weft_dispatcher_LogBatch__Output } from '../../weft/dispatcher/LogBatch.ts';
import type { LogSubscription as _weft_dispatcher_LogSubscription, LogSubscription__Output as _weft_dispatcher_LogSubscription__Output } from '../../weft/dispatcher/LogSubscription.ts';
import type { PublishLogsResponse as _weft_dispatcher_PublishLogsResponse, PublishLogsResponse__Output as _weft_dispatcher_PublishLogsResponse__Output } from '../../weft/dispatcher/PublishLogsResponse.ts';
import type { SessionMessage as _weft_dispatcher_SessionMessage, SessionMessage__Output as _weft_dispatcher_SessionMessage__Output } from '../../weft/dispatcher/SessionMessage.ts';
import type { SessionRequest as _weft_dispatcher_SessionRequest, SessionRequest__Output as _weft_dispatcher_SessionRequest__Output } from '../../weft/dispatcher/SessionRequest.ts';
import type { UpdateTaskStatusRequest as _weft_dispatcher_UpdateTaskStatusRequest, UpdateTaskStatusRequest__Output as _weft_dispatcher_UpdateTaskStatusRequest__Output } from '../../weft/dispatcher/UpdateTaskStatusRequest.ts';
import type { UpdateTaskStatusResponse as _weft_dispatcher_UpdateTaskStatusResponse, UpdateTaskStatusResponse__Output as _weft_dispatcher_UpdateTaskStatusResponse__Output } from '../../weft/dispatcher/UpdateTaskStatusResponse.ts';

export interface DispatcherClient extends grpc.Client {
  Assignments(argument: _weft_dispatcher_AssignmentsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_AssignmentsMessage__Output>;
  Assignments(argument: _weft_dispatcher_AssignmentsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_AssignmentsMessage__Output>;
  assignments(argument: _weft_dispatcher_AssignmentsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_AssignmentsMessage__Output>;
  assignments(argument: _weft_dispatcher_AssignmentsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_AssignmentsMessage__Output>;
  
  Attach(argument: _weft_dispatcher_AttachRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  Attach(argument: _weft_dispatcher_AttachRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  Attach(argument: _weft_dispatcher_AttachRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  Attach(argument: _weft_dispatcher_AttachRequest, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  attach(argument: _weft_dispatcher_AttachRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  attach(argument: _weft_dispatcher_AttachRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  attach(argument: _weft_dispatcher_AttachRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  attach(argument: _weft_dispatcher_AttachRequest, callback: grpc.requestCallback<_weft_dispatcher_AttachResponse__Output>): grpc.ClientUnaryCall;
  
  Describe(argument: _weft_dispatcher_DescribeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  Describe(argument: _weft_dispatcher_DescribeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  Describe(argument: _weft_dispatcher_DescribeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  Describe(argument: _weft_dispatcher_DescribeRequest, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  describe(argument: _weft_dispatcher_DescribeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  describe(argument: _weft_dispatcher_DescribeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  describe(argument: _weft_dispatcher_DescribeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  describe(argument: _weft_dispatcher_DescribeRequest, callback: grpc.requestCallback<_weft_dispatcher_DescribeResponse__Output>): grpc.ClientUnaryCall;
  
  Detach(argument: _weft_dispatcher_DetachRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  Detach(argument: _weft_dispatcher_DetachRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  Detach(argument: _weft_dispatcher_DetachRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  Detach(argument: _weft_dispatcher_DetachRequest, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  detach(argument: _weft_dispatcher_DetachRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  detach(argument: _weft_dispatcher_DetachRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  detach(argument: _weft_dispatcher_DetachRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  detach(argument: _weft_dispatcher_DetachRequest, callback: grpc.requestCallback<_weft_dispatcher_DetachResponse__Output>): grpc.ClientUnaryCall;
  
  FindNetwork(argument: _weft_dispatcher_FindNetworkRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  FindNetwork(argument: _weft_dispatcher_FindNetworkRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  FindNetwork(argument: _weft_dispatcher_FindNetworkRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  FindNetwork(argument: _weft_dispatcher_FindNetworkRequest, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  findNetwork(argument: _weft_dispatcher_FindNetworkRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  findNetwork(argument: _weft_dispatcher_FindNetworkRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  findNetwork(argument: _weft_dispatcher_FindNetworkRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  findNetwork(argument: _weft_dispatcher_FindNetworkRequest, callback: grpc.requestCallback<_weft_dispatcher_FindNetworkResponse__Output>): grpc.ClientUnaryCall;
  
  Heartbeat(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_dispatcher_HeartbeatRequest, _weft_dispatcher_HeartbeatResponse__Output>;
  Heartbeat(options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_dispatcher_HeartbeatRequest, _weft_dispatcher_HeartbeatResponse__Output>;
  heartbeat(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_dispatcher_HeartbeatRequest, _weft_dispatcher_HeartbeatResponse__Output>;
  heartbeat(options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_dispatcher_HeartbeatRequest, _weft_dispatcher_HeartbeatResponse__Output>;
  
  ListenLogs(argument: _weft_dispatcher_ListenLogsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_LogSubscription__Output>;
  ListenLogs(argument: _weft_dispatcher_ListenLogsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_LogSubscription__Output>;
  listenLogs(argument: _weft_dispatcher_ListenLogsRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_LogSubscription__Output>;
  listenLogs(argument: _weft_dispatcher_ListenLogsRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_LogSubscription__Output>;
  
  PublishLogs(metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  PublishLogs(metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  PublishLogs(options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  PublishLogs(callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  publishLogs(metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  publishLogs(metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  publishLogs(options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  publishLogs(callback: grpc.requestCallback<_weft_dispatcher_PublishLogsResponse__Output>): grpc.ClientWritableStream<_weft_dispatcher_LogBatch>;
  
  Session(argument: _weft_dispatcher_SessionRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_SessionMessage__Output>;
  Session(argument: _weft_dispatcher_SessionRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_SessionMessage__Output>;
  session(argument: _weft_dispatcher_SessionRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_SessionMessage__Output>;
  session(argument: _weft_dispatcher_SessionRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_weft_dispatcher_SessionMessage__Output>;
  
  UpdateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  UpdateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  UpdateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  UpdateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  updateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  updateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  updateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  updateTaskStatus(argument: _weft_dispatcher_UpdateTaskStatusRequest, callback: grpc.requestCallback<_weft_dispatcher_UpdateTaskStatusResponse__Output>): grpc.ClientUnaryCall;
  
}

export interface DispatcherHandlers extends grpc.UntypedServiceImplementation {
  Assignments: grpc.handleServerStreamingCall<_weft_dispatcher_AssignmentsRequest__Output, _weft_dispatcher_AssignmentsMessage>;
  
  Attach: grpc.handleUnaryCall<_weft_dispatcher_AttachRequest__Output, _weft_dispatcher_AttachResponse>;
  
  Describe: grpc.handleUnaryCall<_weft_dispatcher_DescribeRequest__Output, _weft_dispatcher_DescribeResponse>;
  
  Detach: grpc.handleUnaryCall<_weft_dispatcher_DetachRequest__Output, _weft_dispatcher_DetachResponse>;
  
  FindNetwork: grpc.handleUnaryCall<_weft_dispatcher_FindNetworkRequest__Output, _weft_dispatcher_FindNetworkResponse>;
  
  Heartbeat: grpc.handleBidiStreamingCall<_weft_dispatcher_HeartbeatRequest__Output, _weft_dispatcher_HeartbeatResponse>;
  
  ListenLogs: grpc.handleServerStreamingCall<_weft_dispatcher_ListenLogsRequest__Output, _weft_dispatcher_LogSubscription>;
  
  PublishLogs: grpc.handleClientStreamingCall<_weft_dispatcher_LogBatch__Output, _weft_dispatcher_PublishLogsResponse>;
  
  Session: grpc.handleServerStreamingCall<_weft_dispatcher_SessionRequest__Output, _weft_dispatcher_SessionMessage>;
  
  UpdateTaskStatus: grpc.handleUnaryCall<_weft_dispatcher_UpdateTaskStatusRequest__Output, _weft_dispatcher_UpdateTaskStatusResponse>;
  
}

export interface DispatcherDefinition extends grpc.ServiceDefinition {
  Assignments: MethodDefinition<_weft_dispatcher_AssignmentsRequest, _weft_dispatcher_AssignmentsMessage, _weft_dispatcher_AssignmentsRequest__Output, _weft_dispatcher_AssignmentsMessage__Output>
  Attach: MethodDefinition<_weft_dispatcher_AttachRequest, _weft_dispatcher_AttachResponse, _weft_dispatcher_AttachRequest__Output, _weft_dispatcher_AttachResponse__Output>
  Describe: MethodDefinition<_weft_dispatcher_DescribeRequest, _weft_dispatcher_DescribeResponse, _weft_dispatcher_DescribeRequest__Output, _weft_dispatcher_DescribeResponse__Output>
  Detach: MethodDefinition<_weft_dispatcher_DetachRequest, _weft_dispatcher_DetachResponse, _weft_dispatcher_DetachRequest__Output, _weft_dispatcher_DetachResponse__Output>
  FindNetwork: MethodDefinition<_weft_dispatcher_FindNetworkRequest, _weft_dispatcher_FindNetworkResponse, _weft_dispatcher_FindNetworkRequest__Output, _weft_dispatcher_FindNetworkResponse__Output>
  Heartbeat: MethodDefinition<_weft_dispatcher_HeartbeatRequest, _weft_dispatcher_HeartbeatResponse, _weft_dispatcher_HeartbeatRequest__Output, _weft_dispatcher_HeartbeatResponse__Output>
  ListenLogs: MethodDefinition<_weft_dispatcher_ListenLogsRequest, _weft_dispatcher_LogSubscription, _weft_dispatcher_ListenLogsRequest__Output, _weft_dispatcher_LogSubscription__Output>
  PublishLogs: MethodDefinition<_weft_dispatcher_LogBatch, _weft_dispatcher_PublishLogsResponse, _weft_dispatcher_LogBatch__Output, _weft_dispatcher_PublishLogsResponse__Output>
  Session: MethodDefinition<_weft_dispatcher_SessionRequest, _weft_dispatcher_SessionMessage, _weft_dispatcher_SessionRequest__Output, _weft_dispatcher_SessionMessage__Output>
  UpdateTaskStatus: MethodDefinition<_weft_dispatcher_UpdateTaskStatusRequest, _weft_dispatcher_UpdateTaskStatusResponse, _weft_dispatcher_UpdateTaskStatusRequest__Output, _weft_dispatcher_UpdateTaskStatusResponse__Output>
}
