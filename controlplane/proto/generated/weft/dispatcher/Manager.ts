// Original file: controlplane/proto/dispatcher.proto


export interface Manager {
  'nodeId'?: (string);
  'address'?: (string);
  'weight'?: (number);
}

export interface Manager__Output {
  'nodeId': (string);
  'address': (string);
  'weight': (number);
}
