// Original file: controlplane/proto/dispatcher.proto


export interface AttachRequest {
  'sessionId'?: (string);
  'networkId'?: (string);
  'taskId'?: (string);
  'containerId'?: (string);
  'aliases'?: (string)[];
}

export interface AttachRequest__Output {
  'sessionId': (string);
  'networkId': (string);
  'taskId': (string);
  'containerId': (string);
  'aliases': (string)[];
}
