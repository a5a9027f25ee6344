// Goal: delays that users ask for may be of any length. Method: a timer and a sleep of a month,
// which Node's setTimeout ends at once.

import t from 'tap'
import { sleep, systemTimers } from './system.ts'

const MONTH_MS = 30 * 86_400_000

t.test('a month is not over at once', async (t) => {
  const ended: string[] = []
  const abort = new AbortController()
  const cancel = systemTimers.after(MONTH_MS, () => ended.push('timer'))
  const sleeping = sleep(MONTH_MS, abort.signal).then(() => ended.push('sleep'))
  await sleep(50)
  cancel()
  t.same(ended, [])
  abort.abort()
  await sleeping
  t.same(ended, ['sleep'])
})
