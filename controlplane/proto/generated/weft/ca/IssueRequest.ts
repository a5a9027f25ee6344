// Original file: controlplane/proto/ca.proto


export interface IssueRequest {
  'csr'?: (string);
  'token'?: (string);
  'availability'?: (string);
}

export interface IssueRequest__Output {
  'csr': (string);
  'token': (string);
  'availability': (string);
}
