// Original file: controlplane/proto/ca.proto


export interface RootAnswer {
  'certificate'?: (string);
}

export interface RootAnswer__Output {
  'certificate': (string);
}
