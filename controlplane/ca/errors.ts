// The CA's operating errors: one class, whose `code` is the canonical name of the gRPC status that
// the error becomes on the wire (google.rpc.Code), and from there the HTTP status of the Engine
// API. Messages are sentences for people and never hold a token, a key or a passphrase.

export type CaErrorCode =
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'UNAUTHENTICATED'

export class CaError extends Error {
  override readonly name: string = 'CaError'
  readonly code: CaErrorCode

  constructor(code: CaErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** The error's own words, whatever was thrown. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
