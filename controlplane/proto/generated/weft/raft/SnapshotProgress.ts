// Original file: controlplane/proto/raft.proto

import type { Long } from '@grpc/proto-loader';

export interface SnapshotProgress {
  'receivedBytes'?: (number | string | Long);
  'done'?: (boolean);
}

export interface SnapshotProgress__Output {
  'receivedBytes': (number);
  'done': (boolean);
}
