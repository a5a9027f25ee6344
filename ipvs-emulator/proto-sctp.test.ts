// Goal: associations pass through the states that the kernel's table gives them, seen from both
// sides and from one. Method: whole life cycles, and the rules that hold for entire rows and
// columns.

import t from 'tap'
import { DIRECTIONS, nextIndex } from './proto.ts'
import { SCTP_EVENTS, SCTP_MACHINE, SCTP_STATES, sctpEvent } from './proto-sctp.ts'

const { stateNames, events, table } = SCTP_MACHINE

function step(from: string, direction: string, event: string): string {
  const index = nextIndex(
    DIRECTIONS.indexOf(direction),
    events.indexOf(event),
    stateNames.indexOf(from),
    SCTP_EVENTS,
    SCTP_STATES,
  )
  return stateNames[table[index]!]!
}

function walk(start: string, ...path: string[]): string {
  const states = [start]
  for (const move of path) {
    const [direction, event] = move.split(' ') as [string, string]
    states.push(step(states.at(-1)!, direction, event))
  }
  return states.slice(1).join(' ')
}

t.test('life cycles', async (t) => {
  t.equal(
    walk('NONE', 'in init', 'out init-ack', 'in cookie-echo', 'out cookie-ack', 'in data'),
    'INIT1 C-SENT C-REPLIED ESTABLISHED ESTABLISHED',
    'set up by the client',
  )
  t.equal(
    walk('NONE', 'out init', 'in init-ack', 'out cookie-echo', 'in cookie-ack', 'out data'),
    'C-WAIT COOKIE C-ECHOED ESTABLISHED ESTABLISHED',
    'set up by the server',
  )
  t.equal(
    walk('NONE', 'only init', 'only cookie-echo', 'only data'),
    'INIT1 ESTABLISHED ESTABLISHED',
    'set up with only the client in sight',
  )
  t.equal(
    walk('ESTABLISHED', 'in shutdown', 'out shutdown-ack', 'in shutdown-complete'),
    'S-RECEIVED S-ACK-SENT CLOSED',
    'shut down by the client',
  )
  t.equal(
    walk('ESTABLISHED', 'out shutdown', 'in shutdown-ack', 'out shutdown-complete'),
    'S-SENT CLOSED CLOSED',
    'shut down by the server',
  )
  t.equal(walk('NONE', 'in init', 'in init'), 'INIT1 INIT', 'a repeated INIT lives longer')
  t.equal(
    walk('NONE', 'in init', 'out abort', 'in init'),
    'INIT1 REJECTED INIT',
    'refused, tried again',
  )
})

t.test('rules over whole rows', async (t) => {
  for (const state of stateNames) {
    if (state !== 'NONE') {
      t.equal(step(state, 'in', 'data'), state, `data changes nothing in ${state}`)
      t.equal(step(state, 'out', 'data'), state)
    }
    const rejected = state === 'C-WAIT' ? 'REJECTED' : 'CLOSED'
    t.equal(step(state, 'in', 'abort'), rejected, `abort in ${state}`)
    t.equal(step(state, 'only', 'abort'), rejected)
    t.equal(step(state, 'out', 'abort'), state === 'INIT1' ? 'REJECTED' : 'CLOSED')
    t.equal(step(state, 'out', 'init'), state === 'ESTABLISHED' ? state : 'C-WAIT')
  }
  for (const ended of ['REJECTED', 'CLOSED']) {
    for (const direction of DIRECTIONS) {
      for (const event of events.filter((name) => !name.startsWith('init') && name !== 'abort')) {
        const reopens = direction === 'out' && ['cookie-echo', 'cookie-ack'].includes(event)
        if (!reopens)
          t.equal(step(ended, direction, event), ended, `${ended} ${direction} ${event}`)
      }
    }
  }
})

t.test('timeouts', async (t) => {
  const seconds = Object.fromEntries(stateNames.map((n, i) => [n, SCTP_MACHINE.timeoutSeconds[i]]))
  t.match(seconds, { NONE: 2, INIT1: 4, REJECTED: 4, ESTABLISHED: 900, CLOSED: 61, 'C-WAIT': 61 })
})

t.test('the event is the first chunk, or an abort behind a cookie', async (t) => {
  const view = new DataView(new ArrayBuffer(64))
  const at = 4
  const chunk = (offset: number, type: number, length: number): void => {
    view.setUint8(at + 12 + offset, type)
    view.setUint16(at + 12 + offset + 2, length)
  }
  for (const [type, event] of [
    [0, 'data'],
    [1, 'init'],
    [2, 'init-ack'],
    [3, 'data'],
    [6, 'abort'],
    [7, 'shutdown'],
    [8, 'shutdown-ack'],
    [9, 'error'],
    [10, 'cookie-echo'],
    [11, 'cookie-ack'],
    [14, 'shutdown-complete'],
    [200, 'data'],
  ] as const) {
    chunk(0, type, 4)
    t.equal(events[sctpEvent(view, at, at + 16)], event, `chunk ${type}`)
  }
  chunk(0, 10, 7)
  chunk(8, 6, 4)
  t.equal(events[sctpEvent(view, at, at + 12 + 12)], 'abort')
  t.equal(events[sctpEvent(view, at, at + 12 + 11)], 'cookie-echo', 'cut off')
  chunk(0, 0, 8)
  t.equal(events[sctpEvent(view, at, at + 12 + 12)], 'data', 'not behind other chunks')
  t.equal(sctpEvent(view, at, at + 15), -1, 'no chunk')
})
