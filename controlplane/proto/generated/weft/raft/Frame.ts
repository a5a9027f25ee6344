// Original file: controlplane/proto/raft.proto

import type { Introduction as _weft_raft_Introduction, Introduction__Output as _weft_raft_Introduction__Output } from '../../weft/raft/Introduction.ts';

export interface Frame {
  'introduction'?: (_weft_raft_Introduction | null);
  'messages'?: (Buffer | Uint8Array | string)[];
}

export interface Frame__Output {
  'introduction': (_weft_raft_Introduction__Output | null);
  'messages': (Buffer)[];
}
