// Original file: controlplane/proto/dispatcher.proto

import type { LogMessage as _weft_dispatcher_LogMessage, LogMessage__Output as _weft_dispatcher_LogMessage__Output } from '../../weft/dispatcher/LogMessage.ts';

export interface LogBatch {
  'sessionId'?: (string);
  'subscriptionId'?: (string);
  'messages'?: (_weft_dispatcher_LogMessage)[];
  'close'?: (boolean);
  'error'?: (string);
}

export interface LogBatch__Output {
  'sessionId': (string);
  'subscriptionId': (string);
  'messages': (_weft_dispatcher_LogMessage__Output)[];
  'close': (boolean);
  'error': (string);
}
