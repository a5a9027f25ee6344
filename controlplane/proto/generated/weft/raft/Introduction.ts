// Original file: controlplane/proto/raft.proto

import type { Long } from '@grpc/proto-loader';

export interface Introduction {
  'clusterId'?: (string);
  'from'?: (number | string | Long);
  'to'?: (number | string | Long);
}

export interface Introduction__Output {
  'clusterId': (string);
  'from': (number);
  'to': (number);
}
