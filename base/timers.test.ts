// Goal: timers run in order of time, then of asking, and a cancelled one never does. Method: move
// the time by hand.

import t from 'tap'
import { manualTimers } from './timers.ts'

t.test('timers run when their time has come, in order', async (t) => {
  const timers = manualTimers(100, 5000)
  const ran: string[] = []
  timers.after(20, () => ran.push(`b${timers.clock.nowMs()}`))
  timers.after(10, () => {
    ran.push(`a${timers.clock.nowMs()}`)
    timers.after(5, () => ran.push(`c${timers.clock.nowMs()}`))
  })
  const cancel = timers.after(12, () => ran.push('never'))
  timers.after(20, () => ran.push('d'))
  cancel()
  timers.advance(9)
  t.same(ran, [])
  timers.advance(11)
  t.same(ran, ['a110', 'c115', 'b120', 'd'])
  t.equal(timers.size, 0)
  t.equal(timers.clock.wallMs(), 5020)
  t.throws(() => timers.after(-1, () => {}), RangeError)
})
