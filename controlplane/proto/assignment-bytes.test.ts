// Goal: what is put together from encoded parts is what grpc-js would have encoded. Method: grpc-js
// decodes it, and encodes the same message to the same bytes.

import t from 'tap'
import { assignmentsBytes, changeBytes, observedBytes } from './assignment-bytes.ts'
import type { AssignmentsMessage__Output } from './dispatcher.ts'
import { dispatcherService } from './dispatcher.ts'

const { Assignments } = dispatcherService()
const decode = Assignments.responseDeserialize as (bytes: Buffer) => AssignmentsMessage__Output
const encode = Assignments.responseSerialize as (message: object) => Buffer

t.test('a message with everything in it', async (t) => {
  const head = {
    complete: false,
    appliesTo: 2 ** 40 + 5,
    resultsIn: 300,
    hash: Buffer.alloc(16, 7),
    more: true,
  }
  const entries = [
    Buffer.concat([changeBytes('task', 'ä', Buffer.from('{}')), changeBytes('peer', 'x', null)]),
    changeBytes('network', 'n', Buffer.alloc(100_000, 1)),
    observedBytes('t1', 'running'),
  ]
  const bytes = assignmentsBytes(head, entries)
  const message = decode(bytes)
  t.equal(message.type, 'INCREMENTAL')
  t.equal(message.appliesTo, 2 ** 40 + 5)
  t.equal(message.resultsIn, 300)
  t.equal(message.more, true)
  t.same(
    message.changes.map(({ kind, id, removed, value }) => [kind, id, removed, value.length]),
    [
      ['task', 'ä', false, 2],
      ['peer', 'x', true, 0],
      ['network', 'n', false, 100_000],
    ],
  )
  t.same(message.observed, [{ taskId: 't1', state: 'running' }])
  const { type: _, ...rest } = message
  const plain = {
    ...rest,
    type: 'INCREMENTAL',
    changes: message.changes.map(({ kind, id, value, removed }) =>
      removed ? { kind, id, removed } : { kind, id, value },
    ),
  }
  t.ok(bytes.equals(encode(plain)))
})

t.test('an empty complete one', async (t) => {
  const none = new Uint8Array(0)
  const head = { complete: true, appliesTo: 0, resultsIn: 0, hash: none, more: false }
  const bytes = assignmentsBytes(head, [])
  t.equal(bytes.length, 0)
  t.equal(decode(bytes).type, 'COMPLETE')
})
