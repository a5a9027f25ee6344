// Original file: controlplane/proto/dispatcher.proto


export interface Description {
  'node'?: (Buffer | Uint8Array | string);
  'tunnelPublicKey'?: (string);
  'tunnelEndpoint'?: (string);
  'zone'?: (string);
}

export interface Description__Output {
  'node': (Buffer);
  'tunnelPublicKey': (string);
  'tunnelEndpoint': (string);
  'zone': (string);
}
