// Original file: controlplane/proto/control.proto

import type { ResponseHead as _weft_control_ResponseHead, ResponseHead__Output as _weft_control_ResponseHead__Output } from '../../weft/control/ResponseHead.ts';

export interface ResponsePart {
  'head'?: (_weft_control_ResponseHead | null);
  'body'?: (Buffer | Uint8Array | string);
}

export interface ResponsePart__Output {
  'head': (_weft_control_ResponseHead__Output | null);
  'body': (Buffer);
}
