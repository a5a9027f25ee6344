// Original file: controlplane/proto/dispatcher.proto

import type { Manager as _weft_dispatcher_Manager, Manager__Output as _weft_dispatcher_Manager__Output } from '../../weft/dispatcher/Manager.ts';

export interface SessionMessage {
  'sessionId'?: (string);
  'node'?: (Buffer | Uint8Array | string);
  'managers'?: (_weft_dispatcher_Manager)[];
  'tunnelKeys'?: (Buffer | Uint8Array | string)[];
  'rootCa'?: (Buffer | Uint8Array | string);
  'heartbeatMs'?: (number);
  'dataPathPort'?: (number);
}

export interface SessionMessage__Output {
  'sessionId': (string);
  'node': (Buffer);
  'managers': (_weft_dispatcher_Manager__Output)[];
  'tunnelKeys': (Buffer)[];
  'rootCa': (Buffer);
  'heartbeatMs': (number);
  'dataPathPort': (number);
}
