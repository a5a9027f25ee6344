// Original file: controlplane/proto/dispatcher.proto


export interface AttachResponse {
  'taskId'?: (string);
}

export interface AttachResponse__Output {
  'taskId': (string);
}
