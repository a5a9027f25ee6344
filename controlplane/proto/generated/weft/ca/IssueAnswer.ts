// Original file: controlplane/proto/ca.proto


// Original file: controlplane/proto/ca.proto

export const _weft_ca_IssueAnswer_State = {
  PENDING: 'PENDING',
  ISSUED: 'ISSUED',
  FAILED: 'FAILED',
} as const;

export type _weft_ca_IssueAnswer_State =
  | 'PENDING'
  | 0
  | 'ISSUED'
  | 1
  | 'FAILED'
  | 2

export type _weft_ca_IssueAnswer_State__Output = typeof _weft_ca_IssueAnswer_State[keyof typeof _weft_ca_IssueAnswer_State]

export interface IssueAnswer {
  'nodeId'?: (string);
  'state'?: (_weft_ca_IssueAnswer_State);
  'certificate'?: (string);
  'error'?: (string);
}

export interface IssueAnswer__Output {
  'nodeId': (string);
  'state': (_weft_ca_IssueAnswer_State__Output);
  'certificate': (string);
  'error': (string);
}
