// Why a call of an agent is refused: the codes of dispatcher.proto.

export type RefusalCode =
  | 'unavailable'
  | 'invalid-argument'
  | 'not-found'
  | 'permission-denied'
  | 'unauthenticated'
  | 'resource-exhausted'

export class DispatchError extends Error {
  readonly code: RefusalCode

  constructor(code: RefusalCode, message: string) {
    super(message)
    this.name = 'DispatchError'
    this.code = code
  }
}

export function sessionOver(): DispatchError {
  return new DispatchError('invalid-argument', 'the session is over: register again')
}
