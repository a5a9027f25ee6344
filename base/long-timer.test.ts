// Goal: a timer runs when it is due, however far that is, and not at all once cancelled. Method:
// Node's own timers for what must not run at once; its mocked ones for what runs in weeks.

import { mock } from 'node:test'
import t from 'tap'
import { startTimer } from './long-timer.ts'

const DAY_MS = 86_400_000

t.test('what is due in a month does not run now', async (t) => {
  let runs = 0
  const cancel = startTimer(30 * DAY_MS, () => runs++)
  await new Promise((resolve) => setTimeout(resolve, 50))
  cancel()
  t.equal(runs, 0)
  await new Promise<void>((resolve) => startTimer(1, resolve))
})

t.test('it runs when it is due', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  let runs = 0
  startTimer(60 * DAY_MS, () => runs++)
  const cancel = startTimer(60 * DAY_MS, () => runs++)
  for (let day = 1; day < 60; day++) mock.timers.tick(DAY_MS)
  cancel()
  t.equal(runs, 0)
  // Mocked timers that a timer starts count from the end of the tick.
  mock.timers.tick(3 * DAY_MS)
  t.equal(runs, 1)
})
