// Original file: controlplane/proto/raft.proto

import type { Introduction as _weft_raft_Introduction, Introduction__Output as _weft_raft_Introduction__Output } from '../../weft/raft/Introduction.ts';
import type { Long } from '@grpc/proto-loader';

export interface SnapshotHeader {
  'introduction'?: (_weft_raft_Introduction | null);
  'message'?: (Buffer | Uint8Array | string);
  'sizeBytes'?: (number | string | Long);
  'digest'?: (Buffer | Uint8Array | string);
}

export interface SnapshotHeader__Output {
  'introduction': (_weft_raft_Introduction__Output | null);
  'message': (Buffer);
  'sizeBytes': (number);
  'digest': (Buffer);
}
