import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { AssignmentsMessage as _weft_dispatcher_AssignmentsMessage, AssignmentsMessage__Output as _weft_dispatcher_AssignmentsMessage__Output } from './weft/dispatcher/AssignmentsMessage.ts';
import type { AssignmentsRequest as _weft_dispatcher_AssignmentsRequest, AssignmentsRequest__Output as _weft_dispatcher_AssignmentsRequest__Output } from './weft/dispatcher/AssignmentsRequest.ts';
import type { AttachRequest as _weft_dispatcher_AttachRequest, AttachRequest__Output as _weft_dispatcher_AttachRequest__Output } from './weft/dispatcher/AttachRequest.ts';
import type { AttachResponse as _weft_dispatcher_AttachResponse, AttachResponse__Output as _weft_dispatcher_AttachResponse__Output } from './weft/dispatcher/AttachResponse.ts';
import type { Change as _weft_dispatcher_Change, Change__Output as _weft_dispatcher_Change__Output } from './weft/dispatcher/Change.ts';
import type { DescribeRequest as _weft_dispatcher_DescribeRequest, DescribeRequest__Output as _weft_dispatcher_DescribeRequest__Output } from './weft/dispatcher/DescribeRequest.ts';
import type { DescribeResponse as _weft_dispatcher_DescribeResponse, DescribeResponse__Output as _weft_dispatcher_DescribeResponse__Output } from './weft/dispatcher/DescribeResponse.ts';
import type { Description as _weft_dispatcher_Description, Description__Output as _weft_dispatcher_Description__Output } from './weft/dispatcher/Description.ts';
import type { DetachRequest as _weft_dispatcher_DetachRequest, DetachRequest__Output as _weft_dispatcher_DetachRequest__Output } from './weft/dispatcher/DetachRequest.ts';
import type { DetachResponse as _weft_dispatcher_DetachResponse, DetachResponse__Output as _weft_dispatcher_DetachResponse__Output } from './weft/dispatcher/DetachResponse.ts';
import type { DispatcherClient as _weft_dispatcher_DispatcherClient, DispatcherDefinition as _weft_dispatcher_DispatcherDefinition } from './weft/dispatcher/Dispatcher.ts';
import type { DrainReport as _weft_dispatcher_DrainReport, DrainReport__Output as _weft_dispatcher_DrainReport__Output } from './weft/dispatcher/DrainReport.ts';
import type { FindNetworkRequest as _weft_dispatcher_FindNetworkRequest, FindNetworkRequest__Output as _weft_dispatcher_FindNetworkRequest__Output } from './weft/dispatcher/FindNetworkRequest.ts';
import type { FindNetworkResponse as _weft_dispatcher_FindNetworkResponse, FindNetworkResponse__Output as _weft_dispatcher_FindNetworkResponse__Output } from './weft/dispatcher/FindNetworkResponse.ts';
import type { HeartbeatRequest as _weft_dispatcher_HeartbeatRequest, HeartbeatRequest__Output as _weft_dispatcher_HeartbeatRequest__Output } from './weft/dispatcher/HeartbeatRequest.ts';
import type { HeartbeatResponse as _weft_dispatcher_HeartbeatResponse, HeartbeatResponse__Output as _weft_dispatcher_HeartbeatResponse__Output } from './weft/dispatcher/HeartbeatResponse.ts';
import type { ListenLogsRequest as _weft_dispatcher_ListenLogsRequest, ListenLogsRequest__Output as _weft_dispatcher_ListenLogsRequest__Output } from './weft/dispatcher/ListenLogsRequest.ts';
import type { LogBatch as _weft_dispatcher_LogBatch, LogBatch__Output as _weft_dispatcher_LogBatch__Output } from './weft/dispatcher/LogBatch.ts';
import type { LogMessage as _weft_dispatcher_LogMessage, LogMessage__Output as _weft_dispatcher_LogMessage__Output } from './weft/dispatcher/LogMessage.ts';
import type { LogSubscription as _weft_dispatcher_LogSubscription, LogSubscription__Output as _weft_dispatcher_LogSubscription__Output } from './weft/dispatcher/LogSubscription.ts';
import type { Manager as _weft_dispatcher_Manager, Manager__Output as _weft_dispatcher_Manager__Output } from './weft/dispatcher/Manager.ts';
import type { Observed as _weft_dispatcher_Observed, Observed__Output as _weft_dispatcher_Observed__Output } from './weft/dispatcher/Observed.ts';
import type { PublishLogsResponse as _weft_dispatcher_PublishLogsResponse, PublishLogsResponse__Output as _weft_dispatcher_PublishLogsResponse__Output } from './weft/dispatcher/PublishLogsResponse.ts';
import type { SeenEndpoint as _weft_dispatcher_SeenEndpoint, SeenEndpoint__Output as _weft_dispatcher_SeenEndpoint__Output } from './weft/dispatcher/SeenEndpoint.ts';
import type { SessionMessage as _weft_dispatcher_SessionMessage, SessionMessage__Output as _weft_dispatcher_SessionMessage__Output } from './weft/dispatcher/SessionMessage.ts';
import type { SessionRequest as _weft_dispatcher_SessionRequest, SessionRequest__Output as _weft_dispatcher_SessionRequest__Output } from './weft/dispatcher/SessionRequest.ts';
import type { TaskStatusUpdate as _weft_dispatcher_TaskStatusUpdate, TaskStatusUpdate__Output as _weft_dispatcher_TaskStatusUpdate__Output } from './weft/dispatcher/TaskStatusUpdate.ts';
import type { UpdateTaskStatusRequest as _weft_dispatcher_UpdateTaskStatusRequest, UpdateTaskStatusRequest__Output as _weft_dispatcher_UpdateTaskStatusRequest__Output } from './weft/dispatcher/UpdateTaskStatusRequest.ts';
import type { UpdateTaskStatusResponse as _weft_dispatcher_UpdateTaskStatusResponse, UpdateTaskStatusResponse__Output as _weft_dispatcher_UpdateTaskStatusResponse__Output } from './weft/dispatcher/UpdateTaskStatusResponse.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  weft: {
    dispatcher: {
      AssignmentsMessage: MessageTypeDefinition<_weft_dispatcher_AssignmentsMessage, _weft_dispatcher_AssignmentsMessage__Output>
      AssignmentsRequest: MessageTypeDefinition<_weft_dispatcher_AssignmentsRequest, _weft_dispatcher_AssignmentsRequest__Output>
      AttachRequest: MessageTypeDefinition<_weft_dispatcher_AttachRequest, _weft_dispatcher_AttachRequest__Output>
      AttachResponse: MessageTypeDefinition<_weft_dispatcher_AttachResponse, _weft_dispatcher_AttachResponse__Output>
      Change: MessageTypeDefinition<_weft_dispatcher_Change, _weft_dispatcher_Change__Output>
      DescribeRequest: MessageTypeDefinition<_weft_dispatcher_DescribeRequest, _weft_dispatcher_DescribeRequest__Output>
      DescribeResponse: MessageTypeDefinition<_weft_dispatcher_DescribeResponse, _weft_dispatcher_DescribeResponse__Output>
      Description: MessageTypeDefinition<_weft_dispatcher_Description, _weft_dispatcher_Description__Output>
      DetachRequest: MessageTypeDefinition<_weft_dispatcher_DetachRequest, _weft_dispatcher_DetachRequest__Output>
      DetachResponse: MessageTypeDefinition<_weft_dispatcher_DetachResponse, _weft_dispatcher_DetachResponse__Output>
      Dispatcher: SubtypeConstructor<typeof grpc.Client, _weft_dispatcher_DispatcherClient> & { service: _weft_dispatcher_DispatcherDefinition }
      DrainReport: MessageTypeDefinition<_weft_dispatcher_DrainReport, _weft_dispatcher_DrainReport__Output>
      FindNetworkRequest: MessageTypeDefinition<_weft_dispatcher_FindNetworkRequest, _weft_dispatcher_FindNetworkRequest__Output>
      FindNetworkResponse: MessageTypeDefinition<_weft_dispatcher_FindNetworkResponse, _weft_dispatcher_FindNetworkResponse__Output>
      HeartbeatRequest: MessageTypeDefinition<_weft_dispatcher_HeartbeatRequest, _weft_dispatcher_HeartbeatRequest__Output>
      HeartbeatResponse: MessageTypeDefinition<_weft_dispatcher_HeartbeatResponse, _weft_dispatcher_HeartbeatResponse__Output>
      ListenLogsRequest: MessageTypeDefinition<_weft_dispatcher_ListenLogsRequest, _weft_dispatcher_ListenLogsRequest__Output>
      LogBatch: MessageTypeDefinition<_weft_dispatcher_LogBatch, _weft_dispatcher_LogBatch__Output>
      LogMessage: MessageTypeDefinition<_weft_dispatcher_LogMessage, _weft_dispatcher_LogMessage__Output>
      LogSubscription: MessageTypeDefinition<_weft_dispatcher_LogSubscription, _weft_dispatcher_LogSubscription__Output>
      Manager: MessageTypeDefinition<_weft_dispatcher_Manager, _weft_dispatcher_Manager__Output>
      Observed: MessageTypeDefinition<_weft_dispatcher_Observed, _weft_dispatcher_Observed__Output>
      PublishLogsResponse: MessageTypeDefinition<_weft_dispatcher_PublishLogsResponse, _weft_dispatcher_PublishLogsResponse__Output>
      SeenEndpoint: MessageTypeDefinition<_weft_dispatcher_SeenEndpoint, _weft_dispatcher_SeenEndpoint__Output>
      SessionMessage: MessageTypeDefinition<_weft_dispatcher_SessionMessage, _weft_dispatcher_SessionMessage__Output>
      SessionRequest: MessageTypeDefinition<_weft_dispatcher_SessionRequest, _weft_dispatcher_SessionRequest__Output>
      TaskStatusUpdate: MessageTypeDefinition<_weft_dispatcher_TaskStatusUpdate, _weft_dispatcher_TaskStatusUpdate__Output>
      UpdateTaskStatusRequest: MessageTypeDefinition<_weft_dispatcher_UpdateTaskStatusRequest, _weft_dispatcher_UpdateTaskStatusRequest__Output>
      UpdateTaskStatusResponse: MessageTypeDefinition<_weft_dispatcher_UpdateTaskStatusResponse, _weft_dispatcher_UpdateTaskStatusResponse__Output>
    }
  }
}

