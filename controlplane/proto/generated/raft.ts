import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { Farewell as _weft_raft_Farewell, Farewell__Output as _weft_raft_Farewell__Output } from './weft/raft/Farewell.ts';
import type { Frame as _weft_raft_Frame, Frame__Output as _weft_raft_Frame__Output } from './weft/raft/Frame.ts';
import type { Introduction as _weft_raft_Introduction, Introduction__Output as _weft_raft_Introduction__Output } from './weft/raft/Introduction.ts';
import type { ProbeAnswer as _weft_raft_ProbeAnswer, ProbeAnswer__Output as _weft_raft_ProbeAnswer__Output } from './weft/raft/ProbeAnswer.ts';
import type { ProbeRequest as _weft_raft_ProbeRequest, ProbeRequest__Output as _weft_raft_ProbeRequest__Output } from './weft/raft/ProbeRequest.ts';
import type { RaftClient as _weft_raft_RaftClient, RaftDefinition as _weft_raft_RaftDefinition } from './weft/raft/Raft.ts';
import type { SnapshotChunk as _weft_raft_SnapshotChunk, SnapshotChunk__Output as _weft_raft_SnapshotChunk__Output } from './weft/raft/SnapshotChunk.ts';
import type { SnapshotHeader as _weft_raft_SnapshotHeader, SnapshotHeader__Output as _weft_raft_SnapshotHeader__Output } from './weft/raft/SnapshotHeader.ts';
import type { SnapshotProgress as _weft_raft_SnapshotProgress, SnapshotProgress__Output as _weft_raft_SnapshotProgress__Output } from './weft/raft/SnapshotProgress.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  weft: {
    raft: {
      Farewell: MessageTypeDefinition<_weft_raft_Farewell, _weft_raft_Farewell__Output>
      Frame: MessageTypeDefinition<_weft_raft_Frame, _weft_raft_Frame__Output>
      Introduction: MessageTypeDefinition<_weft_raft_Introduction, _weft_raft_Introduction__Output>
      ProbeAnswer: MessageTypeDefinition<_weft_raft_ProbeAnswer, _weft_raft_ProbeAnswer__Output>
      ProbeRequest: MessageTypeDefinition<_weft_raft_ProbeRequest, _weft_raft_ProbeRequest__Output>
      Raft: SubtypeConstructor<typeof grpc.Client, _weft_raft_RaftClient> & { service: _weft_raft_RaftDefinition }
      SnapshotChunk: MessageTypeDefinition<_weft_raft_SnapshotChunk, _weft_raft_SnapshotChunk__Output>
      SnapshotHeader: MessageTypeDefinition<_weft_raft_SnapshotHeader, _weft_raft_SnapshotHeader__Output>
      SnapshotProgress: MessageTypeDefinition<_weft_raft_SnapshotProgress, _weft_raft_SnapshotProgress__Output>
    }
  }
}

