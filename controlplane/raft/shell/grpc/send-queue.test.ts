// Goal: what waits for a peer stays bounded, and the bound costs elections nothing. Method: queues
// with small limits, filled beyond them; a seeded mixture against the limits' own definition.

import t from 'tap'
import { prng } from '../../../../base/prng.ts'
import { decodeMessage } from '../../codec.ts'
import { type Message, type MessageType, makeMessage } from '../../messages.ts'
import { SendQueue } from './send-queue.ts'

const ROOMY = { messages: 1000, bytes: 1_000_000 }

function message(type: MessageType, index: number, dataBytes = 0): Message {
  const entry = { term: 1, index, type: 'EntryNormal' as const, data: new Uint8Array(dataBytes) }
  return makeMessage(type, 2, { from: 1, term: 1, index, entries: dataBytes > 0 ? [entry] : [] })
}

function taken(queue: SendQueue, frameBytes = 1e6, messageBytesMax = 1e6): string[] {
  return queue
    .take(frameBytes, messageBytesMax)
    .map(decodeMessage)
    .map(({ type, index }) => `${type} ${index}`)
}

t.test('messages leave in order, a frame at a time', async (t) => {
  const queue = new SendQueue(ROOMY)
  for (const index of [1, 2, 3]) t.ok(queue.push(message('MsgApp', index, 400)))
  t.same(taken(queue, 1000), ['MsgApp 1', 'MsgApp 2'])
  t.equal(queue.length, 1)
  t.same(taken(queue, 1), ['MsgApp 3'], 'one at least, however large')
  t.equal(queue.bytes, 0)
  t.same(taken(queue), [])
})

t.test('the oldest goes first when there are too many', async (t) => {
  const queue = new SendQueue({ messages: 3, bytes: 1_000_000 })
  for (const index of [1, 2, 3]) t.ok(queue.push(message('MsgHeartbeat', index)))
  t.notOk(queue.push(message('MsgHeartbeat', 4)))
  t.equal(queue.dropped, 1)
  t.same(taken(queue), ['MsgHeartbeat 2', 'MsgHeartbeat 3', 'MsgHeartbeat 4'])
})

t.test('votes stay until nothing else is left', async (t) => {
  const queue = new SendQueue({ messages: 2, bytes: 1_000_000 })
  queue.push(message('MsgVote', 1))
  queue.push(message('MsgApp', 2))
  queue.push(message('MsgApp', 3))
  t.same(taken(queue), ['MsgVote 1', 'MsgApp 3'])
  for (const index of [4, 5, 6]) queue.push(message('MsgPreVoteResp', index))
  t.same(taken(queue), ['MsgPreVoteResp 5', 'MsgPreVoteResp 6'])
  queue.push(message('MsgVoteResp', 7))
  queue.push(message('MsgAppResp', 8))
  queue.dropStale()
  t.same(taken(queue), ['MsgVoteResp 7'])
})

t.test('a message beyond the limit of one is dropped when its turn comes', async (t) => {
  const queue = new SendQueue(ROOMY)
  queue.push(message('MsgApp', 1, 5000))
  queue.push(message('MsgApp', 2, 10))
  t.same(taken(queue, 100, 1000), ['MsgApp 2'])
  t.equal(queue.dropped, 1)
  t.equal(queue.bytes, 0)
})

t.test('the bounds hold whatever comes', async (t) => {
  const random = prng(7)
  const limits = { messages: 50, bytes: 20_000 }
  const queue = new SendQueue(limits)
  const types: MessageType[] = ['MsgApp', 'MsgHeartbeat', 'MsgVote', 'MsgAppResp', 'MsgPreVote']
  let sent = 0
  for (let index = 1; index <= 3000; index++) {
    queue.push(message(types[random.below(types.length)]!, index, random.below(2000)))
    if (queue.length > limits.messages || queue.bytes > limits.bytes) t.fail('beyond the bounds')
    if (random.below(20) === 0) sent += taken(queue, 4000).length
    if (random.below(200) === 0) queue.dropStale()
  }
  t.ok(queue.dropped > 100 && sent > 100, `${queue.dropped} dropped, ${sent} sent`)
  t.equal(queue.dropped + sent + queue.length, 3000, 'nothing is counted twice or forgotten')
})
