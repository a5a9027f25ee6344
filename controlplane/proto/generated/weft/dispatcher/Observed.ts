// Original file: controlplane/proto/dispatcher.proto


export interface Observed {
  'taskId'?: (string);
  'state'?: (string);
}

export interface Observed__Output {
  'taskId': (string);
  'state': (string);
}
