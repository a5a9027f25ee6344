// Original file: controlplane/proto/dispatcher.proto


export interface Change {
  'kind'?: (string);
  'id'?: (string);
  'value'?: (Buffer | Uint8Array | string);
  'removed'?: (boolean);
}

export interface Change__Output {
  'kind': (string);
  'id': (string);
  'value': (Buffer);
  'removed': (boolean);
}
