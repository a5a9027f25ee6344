// Original file: controlplane/proto/dispatcher.proto

import type { TaskStatusUpdate as _weft_dispatcher_TaskStatusUpdate, TaskStatusUpdate__Output as _weft_dispatcher_TaskStatusUpdate__Output } from '../../weft/dispatcher/TaskStatusUpdate.ts';

export interface UpdateTaskStatusRequest {
  'sessionId'?: (string);
  'updates'?: (_weft_dispatcher_TaskStatusUpdate)[];
}

export interface UpdateTaskStatusRequest__Output {
  'sessionId': (string);
  'updates': (_weft_dispatcher_TaskStatusUpdate__Output)[];
}
