// Original file: controlplane/proto/control.proto


export interface RequestHead {
  'method'?: (string);
  'path'?: (string);
  'headers'?: ({[key: string]: string});
}

export interface RequestHead__Output {
  'method': (string);
  'path': (string);
  'headers': ({[key: string]: string});
}
