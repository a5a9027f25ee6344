// Original file: controlplane/proto/dispatcher.proto

import type { Change as _weft_dispatcher_Change, Change__Output as _weft_dispatcher_Change__Output } from '../../weft/dispatcher/Change.ts';
import type { Observed as _weft_dispatcher_Observed, Observed__Output as _weft_dispatcher_Observed__Output } from '../../weft/dispatcher/Observed.ts';
import type { Long } from '@grpc/proto-loader';

// Original file: controlplane/proto/dispatcher.proto

export const _weft_dispatcher_AssignmentsMessage_Type = {
  COMPLETE: 'COMPLETE',
  INCREMENTAL: 'INCREMENTAL',
} as const;

export type _weft_dispatcher_AssignmentsMessage_Type =
  | 'COMPLETE'
  | 0
  | 'INCREMENTAL'
  | 1

export type _weft_dispatcher_AssignmentsMessage_Type__Output = typeof _weft_dispatcher_AssignmentsMessage_Type[keyof typeof _weft_dispatcher_AssignmentsMessage_Type]

export interface AssignmentsMessage {
  'type'?: (_weft_dispatcher_AssignmentsMessage_Type);
  'appliesTo'?: (number | string | Long);
  'resultsIn'?: (number | string | Long);
  'hash'?: (Buffer | Uint8Array | string);
  'more'?: (boolean);
  'changes'?: (_weft_dispatcher_Change)[];
  'observed'?: (_weft_dispatcher_Observed)[];
}

export interface AssignmentsMessage__Output {
  'type': (_weft_dispatcher_AssignmentsMessage_Type__Output);
  'appliesTo': (number);
  'resultsIn': (number);
  'hash': (Buffer);
  'more': (boolean);
  'changes': (_weft_dispatcher_Change__Output)[];
  'observed': (_weft_dispatcher_Observed__Output)[];
}
