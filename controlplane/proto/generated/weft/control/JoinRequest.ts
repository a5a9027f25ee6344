// Original file: controlplane/proto/control.proto

import type { Long } from '@grpc/proto-loader';

export interface JoinRequest {
  'id'?: (number | string | Long);
  'address'?: (string);
}

export interface JoinRequest__Output {
  'id': (number);
  'address': (string);
}
