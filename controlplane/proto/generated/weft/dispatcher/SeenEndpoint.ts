// Original file: controlplane/proto/dispatcher.proto


export interface SeenEndpoint {
  'nodeId'?: (string);
  'endpoint'?: (string);
}

export interface SeenEndpoint__Output {
  'nodeId': (string);
  'endpoint': (string);
}
