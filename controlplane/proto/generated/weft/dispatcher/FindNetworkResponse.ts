// Original file: controlplane/proto/dispatcher.proto


export interface FindNetworkResponse {
  'network'?: (Buffer | Uint8Array | string);
}

export interface FindNetworkResponse__Output {
  'network': (Buffer);
}
