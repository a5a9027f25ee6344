// Original file: controlplane/proto/ca.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { IssueAnswer as _weft_ca_IssueAnswer, IssueAnswer__Output as _weft_ca_IssueAnswer__Output } from '../../weft/ca/IssueAnswer.ts';
import type { IssueRequest as _weft_ca_IssueRequest, IssueRequest__Output as _weft_ca_IssueRequest__Output } from '../../weft/ca/IssueRequest.ts';
import type { RootAnswer as _weft_ca_RootAnswer, RootAnswer__Output as _weft_ca_RootAnswer__Output } from '../../weft/ca/RootAnswer.ts';
import type { RootRequest as _weft_ca_RootRequest, RootRequest__Output as _weft_ca_RootRequest__Output } from '../../weft/ca/RootRequest.ts';

export interface CAClient extends grpc.Client {
  GetRootCertificate(argument: _weft_ca_RootRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  GetRootCertificate(argument: _weft_ca_RootRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  GetRootCertificate(argument: _weft_ca_RootRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  GetRootCertificate(argument: _weft_ca_RootRequest, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  getRootCertificate(argument: _weft_ca_RootRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  getRootCertificate(argument: _weft_ca_RootRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  getRootCertificate(argument: _weft_ca_RootRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  getRootCertificate(argument: _weft_ca_RootRequest, callback: grpc.requestCallback<_weft_ca_RootAnswer__Output>): grpc.ClientUnaryCall;
  
  IssueNodeCertificate(argument: _weft_ca_IssueRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  IssueNodeCertificate(argument: _weft_ca_IssueRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  IssueNodeCertificate(argument: _weft_ca_IssueRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  IssueNodeCertificate(argument: _weft_ca_IssueRequest, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_IssueRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_IssueRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_IssueRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  issueNodeCertificate(argument: _weft_ca_IssueRequest, callback: grpc.requestCallback<_weft_ca_IssueAnswer__Output>): grpc.ClientUnaryCall;
  
}

export interface CAHandlers extends grpc.UntypedServiceImplementation {
  GetRootCertificate: grpc.handleUnaryCall<_weft_ca_RootRequest__Output, _weft_ca_RootAnswer>;
  
  IssueNodeCertificate: grpc.handleUnaryCall<_weft_ca_IssueRequest__Output, _weft_ca_IssueAnswer>;
  
}

export interface CADefinition extends grpc.ServiceDefinition {
  GetRootCertificate: MethodDefinition<_weft_ca_RootRequest, _weft_ca_RootAnswer, _weft_ca_RootRequest__Output, _weft_ca_RootAnswer__Output>
  IssueNodeCertificate: MethodDefinition<_weft_ca_IssueRequest, _weft_ca_IssueAnswer, _weft_ca_IssueRequest__Output, _weft_ca_IssueAnswer__Output>
}
