// Goal: what is left out is only ever what a later message says as well. Method: an outbox and what
// comes out of it.

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type Entry, type Message, makeMessage } from '../messages.ts'
import { Outbox } from './outbox.ts'

const ENTRY: Entry = { term: 1, index: 5, type: 'EntryNormal', data: new Uint8Array(1) }

function append(to: number, commit: number, entries: readonly Entry[] = [], term = 1): Message {
  return makeMessage('MsgApp', to, { from: 1, term, commit, entries })
}

function outbox(): { box: Outbox; sent: string[] } {
  const sent: string[] = []
  const box = new Outbox(({ type, to, commit }) => sent.push(`${type} ${to} ${commit}`))
  return { box, sent }
}

t.test('news of a commit give way to a message that says more', async (t) => {
  const { box, sent } = outbox()
  box.send(append(2, 4))
  box.send(append(3, 4))
  t.same(sent, [], 'they wait')
  box.send(append(2, 5))
  box.send(append(2, 5, [ENTRY]))
  t.same(sent, ['MsgApp 2 5'])
  box.send(makeMessage('MsgHeartbeat', 3, { from: 1, term: 1, commit: 4 }))
  t.same(sent.slice(1), ['MsgApp 3 4', 'MsgHeartbeat 3 4'], 'and are sent before anything else')
})

t.test('they do not wait long, and not across terms', async (t) => {
  const { box, sent } = outbox()
  box.send(append(2, 4))
  while (sent.length === 0) await sleep(1)
  t.same(sent, ['MsgApp 2 4'])
  box.send(append(2, 5, [], 1))
  box.send(append(2, 6, [ENTRY], 2))
  t.same(sent.slice(1), ['MsgApp 2 5', 'MsgApp 2 6'])
  box.send(append(2, 7))
  box.close()
  await sleep(10)
  t.equal(sent.length, 3, 'nothing after the end')
})

t.test('a row of proposals sends none', async (t) => {
  const { box, sent } = outbox()
  const proposals = 40
  let news = 0
  for (let i = 0; i < proposals; i++) {
    box.send(append(2, i, [ENTRY]))
    box.send(append(2, i))
    const sinceMs = performance.now()
    await sleep(1)
    // Late ones may be sent, where the machine is slow.
    if (performance.now() - sinceMs > 2) news++
  }
  t.ok(sent.length <= proposals + news, `${sent.length} messages, ${news} slow turns`)
  box.send(append(2, proposals))
  while (sent.at(-1) !== `MsgApp 2 ${proposals}`) await sleep(1)
  box.close()
})
