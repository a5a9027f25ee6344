// Original file: controlplane/proto/dispatcher.proto


export interface DrainReport {
  'taskId'?: (string);
  'flows'?: (number);
}

export interface DrainReport__Output {
  'taskId': (string);
  'flows': (number);
}
