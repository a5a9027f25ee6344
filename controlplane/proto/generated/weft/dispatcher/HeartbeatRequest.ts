// Original file: controlplane/proto/dispatcher.proto

import type { DrainReport as _weft_dispatcher_DrainReport, DrainReport__Output as _weft_dispatcher_DrainReport__Output } from '../../weft/dispatcher/DrainReport.ts';
import type { SeenEndpoint as _weft_dispatcher_SeenEndpoint, SeenEndpoint__Output as _weft_dispatcher_SeenEndpoint__Output } from '../../weft/dispatcher/SeenEndpoint.ts';
import type { Long } from '@grpc/proto-loader';

export interface HeartbeatRequest {
  'sessionId'?: (string);
  'applied'?: (number | string | Long);
  'draining'?: (_weft_dispatcher_DrainReport)[];
  'silentNodes'?: (string)[];
  'heardNodes'?: (string)[];
  'seen'?: (_weft_dispatcher_SeenEndpoint)[];
  'isReturning'?: (boolean);
}

export interface HeartbeatRequest__Output {
  'sessionId': (string);
  'applied': (number);
  'draining': (_weft_dispatcher_DrainReport__Output)[];
  'silentNodes': (string)[];
  'heardNodes': (string)[];
  'seen': (_weft_dispatcher_SeenEndpoint__Output)[];
  'isReturning': (boolean);
}
