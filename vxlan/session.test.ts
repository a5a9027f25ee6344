// Goal: the table of states and events keeps the promises that its header makes, whatever the order
// of events. Method: rules checked on every cell, then random walks.

import fc from 'fast-check'
import t from 'tap'
import {
  ADOPT,
  ANSWER,
  ANSWERED,
  CALL,
  CALLING,
  GIVE_UP,
  IDLE,
  INITIATION,
  isCalling,
  LOST,
  PROMOTE,
  PROOF,
  REFUSE,
  RENEWING,
  RESPONSE,
  RETRY,
  type SessionEvent,
  type SessionState,
  STOP,
  sessionAction,
  sessionNext,
  UP,
  WAIT,
  WANT,
} from './session.ts'

const STATES: readonly SessionState[] = [IDLE, CALLING, ANSWERED, UP, RENEWING]
const EVENTS: readonly SessionEvent[] = [0, 1, 2, 3, 4, 5, 6, 7]
const hasKey = (state: SessionState): boolean => state === UP || state === RENEWING

t.test('rules that hold in every cell', async (t) => {
  for (const state of STATES) {
    t.equal(sessionAction(state, INITIATION), ANSWER, 'a good initiation is answered in any state')
    t.equal(sessionNext(state, PROOF), UP)
    t.equal(sessionAction(state, PROOF), PROMOTE)
    const expected = isCalling(state) ? ADOPT : REFUSE
    t.equal(sessionAction(state, RESPONSE), expected, 'a response only where one is awaited')
    t.notOk(hasKey(sessionNext(state, LOST)), 'without a key there is none')
    for (const event of EVENTS) {
      const action = sessionAction(state, event)
      const next = sessionNext(state, event)
      if (action === CALL) t.ok(isCalling(next), 'who calls is calling')
      if (action === STOP) t.notOk(isCalling(next), 'who gave up is not')
      if (action === WAIT) t.equal(next, ANSWERED)
      const gains = hasKey(next) && !hasKey(state)
      if (gains) t.ok(action === ADOPT || action === PROMOTE, 'a key comes from a handshake')
      if (hasKey(state) && event !== LOST) t.ok(hasKey(next), 'and goes only when it is lost')
      if (isCalling(next) && !isCalling(state)) t.equal(action, CALL)
    }
  }
})

t.test('from anywhere, wanting and a response lead up', async () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...EVENTS), { maxLength: 30 }), (events) => {
      let state: SessionState = IDLE
      for (const event of events) state = sessionNext(state, event)
      for (const event of [WANT, RETRY, RESPONSE] as const) state = sessionNext(state, event)
      return hasKey(state)
    }),
  )
})

t.test('giving up keeps a key that is still good', async (t) => {
  t.equal(sessionNext(RENEWING, GIVE_UP), UP)
  t.equal(sessionNext(CALLING, GIVE_UP), IDLE)
})
