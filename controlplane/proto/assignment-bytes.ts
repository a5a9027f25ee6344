// AssignmentsMessage (dispatcher.proto) put together from parts that were encoded once. A thousand
// nodes are told of the same change: its bytes are made once and copied into each message, instead
// of being encoded a thousand times. A protobuf message allows that: it is nothing but its fields
// in a row, and a repeated field is the field again and again.
//
// The plain twin is what grpc-js would make of the same message; assignment-bytes.test.ts holds the
// two equal. Encoding: https://protobuf.dev/programming-guides/encoding (varints,
// length-delimited).

const VARINT = 0
const BYTES = 2

/** Field numbers of dispatcher.proto. */
const MESSAGE = { type: 1, appliesTo: 2, resultsIn: 3, hash: 4, more: 5, changes: 6, observed: 7 }
const CHANGE = { kind: 1, id: 2, value: 3, removed: 4 }
const OBSERVED = { taskId: 1, state: 2 }

export interface AssignmentsHead {
  readonly complete: boolean
  readonly appliesTo: number
  readonly resultsIn: number
  /** Empty unless it is the last part. */
  readonly hash: Uint8Array
  readonly more: boolean
}

/** One entry of `changes`, as it stands in a message; `value` null = removed. */
export function changeBytes(kind: string, id: string, value: Uint8Array | null): Buffer {
  const fields = [bytesField(CHANGE.kind, utf8(kind)), bytesField(CHANGE.id, utf8(id))]
  if (value === null) fields.push(varintField(CHANGE.removed, 1))
  else if (value.length > 0) fields.push(bytesField(CHANGE.value, value))
  return bytesField(MESSAGE.changes, Buffer.concat(fields))
}

/** One entry of `observed`. */
export function observedBytes(taskId: string, state: string): Buffer {
  const fields = [
    bytesField(OBSERVED.taskId, utf8(taskId)),
    bytesField(OBSERVED.state, utf8(state)),
  ]
  return bytesField(MESSAGE.observed, Buffer.concat(fields))
}

/** A whole message; `entries` are results of changeBytes() and observedBytes(), also several in a
 * row in one buffer. */
export function assignmentsBytes(head: AssignmentsHead, entries: readonly Uint8Array[]): Buffer {
  const fields: Uint8Array[] = []
  if (!head.complete) fields.push(varintField(MESSAGE.type, 1))
  if (head.appliesTo > 0) fields.push(varintField(MESSAGE.appliesTo, head.appliesTo))
  if (head.resultsIn > 0) fields.push(varintField(MESSAGE.resultsIn, head.resultsIn))
  if (head.hash.length > 0) fields.push(bytesField(MESSAGE.hash, head.hash))
  if (head.more) fields.push(varintField(MESSAGE.more, 1))
  return Buffer.concat([...fields, ...entries])
}

function utf8(text: string): Buffer {
  return Buffer.from(text, 'utf8')
}

function bytesField(field: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint(field * 8 + BYTES), varint(value.length), value])
}

function varintField(field: number, value: number): Buffer {
  return Buffer.concat([varint(field * 8 + VARINT), varint(value)])
}

/** `value`: 0 .. 2^53 - 1. */
function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest >= 128) {
    bytes.push((rest % 128) + 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}
