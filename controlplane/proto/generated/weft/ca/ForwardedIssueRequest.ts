// Original file: controlplane/proto/ca.proto

import type { IssueRequest as _weft_ca_IssueRequest, IssueRequest__Output as _weft_ca_IssueRequest__Output } from '../../weft/ca/IssueRequest.ts';
import type { Caller as _weft_ca_Caller, Caller__Output as _weft_ca_Caller__Output } from '../../weft/ca/Caller.ts';

export interface ForwardedIssueRequest {
  'request'?: (_weft_ca_IssueRequest | null);
  'caller'?: (_weft_ca_Caller | null);
  'source'?: (string);
}

export interface ForwardedIssueRequest__Output {
  'request': (_weft_ca_IssueRequest__Output | null);
  'caller': (_weft_ca_Caller__Output | null);
  'source': (string);
}
