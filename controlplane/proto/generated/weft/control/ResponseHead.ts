// Original file: controlplane/proto/control.proto


export interface ResponseHead {
  'status'?: (number);
  'headers'?: ({[key: string]: string});
}

export interface ResponseHead__Output {
  'status': (number);
  'headers': ({[key: string]: string});
}
