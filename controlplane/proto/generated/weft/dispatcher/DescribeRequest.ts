// Original file: controlplane/proto/dispatcher.proto

import type { Description as _weft_dispatcher_Description, Description__Output as _weft_dispatcher_Description__Output } from '../../weft/dispatcher/Description.ts';

export interface DescribeRequest {
  'sessionId'?: (string);
  'description'?: (_weft_dispatcher_Description | null);
}

export interface DescribeRequest__Output {
  'sessionId': (string);
  'description': (_weft_dispatcher_Description__Output | null);
}
