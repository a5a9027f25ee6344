// Original file: controlplane/proto/control.proto

import type { Long } from '@grpc/proto-loader';

export interface Member {
  'id'?: (number | string | Long);
  'address'?: (string);
  'nodeId'?: (string);
}

export interface Member__Output {
  'id': (number);
  'address': (string);
  'nodeId': (string);
}
