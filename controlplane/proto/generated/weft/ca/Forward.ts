// Original file: controlplane/proto/ca.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { ForwardedIssueRequest as _weft_ca_ForwardedIssueRequest, ForwardedIssueRequest__Output as _weft_ca_ForwardedIssueRequest__Output } from '../../weft/ca/ForwardedIssueRequest.ts';
import type { IssueAnswer as _weft_ca_IssueAnswer, IssueAnswer__Output as _weft_ca_IssueAnswer__Output } from '../../weft/ca/IssueAnswer.ts';

export interface ForwardClient extends grpc.Client {
  IssueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  IssueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  IssueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  IssueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_ForwardedIssueRequest, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  
}

export interface ForwardHandlers extends grpc.UntypedServiceImplementation {
  IssueNodeCertificate: grpc.handleUnaryCall<_weft_ca_ForwardedIssueRequest__Output, _weft_ca_IssueAnswer>;
  
}

export interface ForwardDefinition extends grpc.ServiceDefinition {
  IssueNodeCertificate: MethodDefinition<_weft_ca_ForwardedIssueRequest, _weft_ca_IssueAnswer, _weft_ca_ForwardedIssueRequest__Output, _weft_ca_IssueAnswer__Output>
}
