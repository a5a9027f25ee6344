// Original file: controlplane/proto/dispatcher.proto

import type { Long } from '@grpc/proto-loader';

export interface LogSubscription {
  'id'?: (string);
  'close'?: (boolean);
  'serviceIds'?: (string)[];
  'taskIds'?: (string)[];
  'follow'?: (boolean);
  'tail'?: (number);
  'sinceMs'?: (number | string | Long);
  'stdout'?: (boolean);
  'stderr'?: (boolean);
}

export interface LogSubscription__Output {
  'id': (string);
  'close': (boolean);
  'serviceIds': (string)[];
  'taskIds': (string)[];
  'follow': (boolean);
  'tail': (number);
  'sinceMs': (number);
  'stdout': (boolean);
  'stderr': (boolean);
}
