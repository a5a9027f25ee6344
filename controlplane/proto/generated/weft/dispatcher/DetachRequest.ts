// Original file: controlplane/proto/dispatcher.proto


export interface DetachRequest {
  'sessionId'?: (string);
  'taskId'?: (string);
}

export interface DetachRequest__Output {
  'sessionId': (string);
  'taskId': (string);
}
