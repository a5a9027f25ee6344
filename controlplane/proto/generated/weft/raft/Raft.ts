// Original file: controlplane/proto/raft.proto

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { Farewell as _weft_raft_Farewell, Farewell__Output as _weft_raft_Farewell__Output } from '../../weft/raft/Farewell.ts';
import type { Frame as _weft_raft_Frame, Frame__Output as _weft_raft_Frame__Output } from '../../weft/raft/Frame.ts';
import type { ProbeAnswer as _weft_raft_ProbeAnswer, ProbeAnswer__Output as _weft_raft_ProbeAnswer__Output } from '../../weft/raft/ProbeAnswer.ts';
import type { ProbeRequest as _weft_raft_ProbeRequest, ProbeRequest__Output as _weft_raft_ProbeRequest__Output } from '../../weft/raft/ProbeRequest.ts';
import type { SnapshotChunk as _weft_raft_SnapshotChunk, SnapshotChunk__Output as _weft_raft_SnapshotChunk__Output } from '../../weft/raft/SnapshotChunk.ts';
import type { SnapshotProgress as _weft_raft_SnapshotProgress, SnapshotProgress__Output as _weft_raft_SnapshotProgress__Output } from '../../weft/raft/SnapshotProgress.ts';

export interface RaftClient extends grpc.Client {
  Converse(metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  Converse(metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  Converse(options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  Converse(callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  converse(metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  converse(metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  converse(options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  converse(callback: grpc.requestCallback<_weft_raft_Farewell__Output>): grpc.ClientWritableStream<_weft_raft_Frame>;
  
  InstallSnapshot(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_raft_SnapshotChunk, _weft_raft_SnapshotProgress__Output>;
  InstallSnapshot(options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_raft_SnapshotChunk, _weft_raft_SnapshotProgress__Output>;
  installSnapshot(metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_raft_SnapshotChunk, _weft_raft_SnapshotProgress__Output>;
  installSnapshot(options?: grpc.CallOptions): grpc.ClientDuplexStream<_weft_raft_SnapshotChunk, _weft_raft_SnapshotProgress__Output>;
  
  Probe(argument: _weft_raft_ProbeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  Probe(argument: _weft_raft_ProbeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  Probe(argument: _weft_raft_ProbeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  Probe(argument: _weft_raft_ProbeRequest, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  probe(argument: _weft_raft_ProbeRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  probe(argument: _weft_raft_ProbeRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  probe(argument: _weft_raft_ProbeRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  probe(argument: _weft_raft_ProbeRequest, callback: grpc.requestCallback<_weft_raft_ProbeAnswer__Output>): grpc.ClientUnaryCall;
  
}

export interface RaftHandlers extends grpc.UntypedServiceImplementation {
  Converse: grpc.handleClientStreamingCall<_weft_raft_Frame__Output, _weft_raft_Farewell>;
  
  InstallSnapshot: grpc.handleBidiStreamingCall<_weft_raft_SnapshotChunk__Output, _weft_raft_SnapshotProgress>;
  
  Probe: grpc.handleUnaryCall<_weft_raft_ProbeRequest__Output, _weft_raft_ProbeAnswer>;
  
}

export interface RaftDefinition extends grpc.ServiceDefinition {
  Converse: MethodDefinition<_weft_raft_Frame, _weft_raft_Farewell, _weft_raft_Frame__Output, _weft_raft_Farewell__Output>
  InstallSnapshot: MethodDefinition<_weft_raft_SnapshotChunk, _weft_raft_SnapshotProgress, _weft_raft_SnapshotChunk__Output, _weft_raft_SnapshotProgress__Output>
  Probe: MethodDefinition<_weft_raft_ProbeRequest, _weft_raft_ProbeAnswer, _weft_raft_ProbeRequest__Output, _weft_raft_ProbeAnswer__Output>
}
