// Original file: controlplane/proto/raft.proto

import type { SnapshotHeader as _weft_raft_SnapshotHeader, SnapshotHeader__Output as _weft_raft_SnapshotHeader__Output } from '../../weft/raft/SnapshotHeader.ts';

export interface SnapshotChunk {
  'header'?: (_weft_raft_SnapshotHeader | null);
  'data'?: (Buffer | Uint8Array | string);
}

export interface SnapshotChunk__Output {
  'header': (_weft_raft_SnapshotHeader__Output | null);
  'data': (Buffer);
}
