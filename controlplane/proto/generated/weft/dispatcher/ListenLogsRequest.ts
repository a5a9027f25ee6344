// Original file: controlplane/proto/dispatcher.proto


export interface ListenLogsRequest {
  'sessionId'?: (string);
}

export interface ListenLogsRequest__Output {
  'sessionId': (string);
}
