// Original file: controlplane/proto/raft.proto


export interface ProbeRequest {
  'clusterId'?: (string);
}

export interface ProbeRequest__Output {
  'clusterId': (string);
}
