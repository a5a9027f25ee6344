// Original file: controlplane/proto/raft.proto

import type { Long } from '@grpc/proto-loader';

export interface ProbeAnswer {
  'id'?: (number | string | Long);
}

export interface ProbeAnswer__Output {
  'id': (number);
}
