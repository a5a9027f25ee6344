// Original file: controlplane/proto/ca.proto


export interface Caller {
  'nodeId'?: (string);
  'role'?: (string);
  'clusterId'?: (string);
}

export interface Caller__Output {
  'nodeId': (string);
  'role': (string);
  'clusterId': (string);
}
