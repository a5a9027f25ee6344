// Original file: controlplane/proto/dispatcher.proto


export interface LogMessage {
  'serviceId'?: (string);
  'taskId'?: (string);
  'stderr'?: (boolean);
  'timestampNs'?: (string);
  'attributes'?: ({[key: string]: string});
  'data'?: (Buffer | Uint8Array | string);
}

export interface LogMessage__Output {
  'serviceId': (string);
  'taskId': (string);
  'stderr': (boolean);
  'timestampNs': (string);
  'attributes': ({[key: string]: string});
  'data': (Buffer);
}
