// Original file: controlplane/proto/dispatcher.proto


export interface FindNetworkRequest {
  'sessionId'?: (string);
  'network'?: (string);
}

export interface FindNetworkRequest__Output {
  'sessionId': (string);
  'network': (string);
}
