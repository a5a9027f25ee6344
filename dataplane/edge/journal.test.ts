// Goal: a journal says what is left to undo, however long it has been in use. Method: a file in a
// folder of its own; mesh-host.test.ts has the damaged and the killed.

import { readFileSync, statSync } from 'node:fs'
import t from 'tap'
import { openJournal } from './journal.ts'
import { JOURNAL_HISTORY_MAX } from './limits.ts'

const IDENTITY = 'boot/1'

t.test('what is left is what was not undone, in order', async (t) => {
  const path = `${t.testdir()}/a.journal`
  const journal = openJournal<string>(path, IDENTITY)
  const [one, two] = journal.append(['one', 'two'])
  journal.append(['three'])
  journal.undone([one!.id])
  journal.close()
  const next = openJournal<string>(path, IDENTITY)
  t.same(
    next.leftover.map(({ entry }) => entry),
    ['two', 'three'],
  )
  t.equal(next.leftover[0]?.id, two!.id)
  next.close()
})

t.test('years of changes do not make it too large', async (t) => {
  const path = `${t.testdir()}/a.journal`
  const journal = openJournal<string>(path, IDENTITY)
  const [kept] = journal.append(['kept'])
  const entry = 'x'.repeat(100)
  let largest = 0
  for (let i = 0; i < 5 * JOURNAL_HISTORY_MAX; i++) {
    const [record] = journal.append([entry])
    journal.undone([record!.id])
    if (i % 100 === 0) largest = Math.max(largest, statSync(path).size)
  }
  const lineBytes = entry.length + 60
  t.ok(largest > JOURNAL_HISTORY_MAX * entry.length, 'there was history')
  t.ok(largest < 2 * JOURNAL_HISTORY_MAX * lineBytes, `${largest} bytes at most`)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.throws(() => openJournal(path, IDENTITY), { code: 'ALREADY_RUNNING' }, 'still locked')
  const [last] = journal.append(['last'])
  t.ok(last!.id > 5 * JOURNAL_HISTORY_MAX, 'no number comes twice')
  journal.close()
  const next = openJournal<string>(path, IDENTITY)
  t.same(next.leftover, [kept, last])
  next.clear()
  t.equal(readFileSync(path, 'utf8').split('\n').length, 2)
  next.close()
})
