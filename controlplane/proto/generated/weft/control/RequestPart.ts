// Original file: controlplane/proto/control.proto

import type { RequestHead as _weft_control_RequestHead, RequestHead__Output as _weft_control_RequestHead__Output } from '../../weft/control/RequestHead.ts';

export interface RequestPart {
  'head'?: (_weft_control_RequestHead | null);
  'body'?: (Buffer | Uint8Array | string);
}

export interface RequestPart__Output {
  'head': (_weft_control_RequestHead__Output | null);
  'body': (Buffer);
}
