// Goal: the TCP tables are the kernel's, cell by cell. Method: a second transcription, by column
// (the current state) instead of by row, made from another copy of the source; and the walks that
// matter.

import t from 'tap'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { nextIndex } from './proto.ts'
import {
  TCP_EVENT_NONE,
  TCP_EVENTS,
  TCP_MACHINE,
  TCP_SECURE_TABLE,
  TCP_STATES,
  tcpEvent,
} from './proto-tcp.ts'

const STATES = 'NO ES SS SR FW TW CL CW LA LI SA'.split(' ')

// state: next state on SYN FIN ACK RST | coming in | going out | only seen coming in
const NORMAL: Record<string, string> = {
  NO: 'SR CL ES CL | SS TW ES CL | SR CL ES CL',
  ES: 'ES CW ES CL | ES FW ES CL | ES FW ES CL',
  SS: 'ES SS SS CL | SS SS SS SS | ES SS SS CL',
  SR: 'SR TW ES SR | SR TW ES CL | SR TW ES SR',
  FW: 'SR TW FW CL | SS FW FW CL | SR FW FW CL',
  TW: 'SR TW TW CL | SS TW TW TW | SR TW TW CL',
  CL: 'SR CL CL CL | SS CL CL CL | SR CL CL CL',
  CW: 'SR CW CW CL | SS TW CW CL | SR CW CW CL',
  LA: 'SR LA CL LA | SS LA LA CL | SR LA CL LA',
  LI: 'SR LI LI LI | LI LI ES CL | SR LI LI LI',
  SA: 'SR TW ES SR | SR TW ES CL | SR TW ES CL',
}

// What secure_tcp changes, as (state direction event): next state.
const SECURE_CHANGES: Record<string, string> = {
  'SR in ack': 'SR',
  'SA in syn': 'SA',
  'SA in fin': 'SA',
  'SA in ack': 'SA',
  'SA in rst': 'CL',
  'SR out syn': 'SA',
  'SA out syn': 'SA',
  'NO only syn': 'SA',
  'FW only syn': 'SA',
  'TW only syn': 'SA',
  'CL only syn': 'SA',
  'CW only syn': 'SA',
  'LA only syn': 'SA',
  'LI only syn': 'SA',
  'SA only syn': 'SA',
}

t.test('every cell', async (t) => {
  let changes = 0
  for (const [from, row] of Object.entries(NORMAL)) {
    row.split(' | ').forEach((cells, direction) => {
      cells.split(' ').forEach((to, event) => {
        const index = nextIndex(direction, event, STATES.indexOf(from), TCP_EVENTS, TCP_STATES)
        const cell = `${from} ${['in', 'out', 'only'][direction]} ${TCP_MACHINE.events[event]}`
        t.equal(STATES[TCP_MACHINE.table[index]!], to, cell)
        const secure = SECURE_CHANGES[cell]
        if (secure !== undefined) changes++
        t.equal(STATES[TCP_SECURE_TABLE[index]!], secure ?? to, `secure ${cell}`)
      })
    })
  }
  t.equal(changes, Object.keys(SECURE_CHANGES).length)
})

t.test('timeouts', async (t) => {
  const named = TCP_MACHINE.stateNames.map((name, i) => `${name} ${TCP_MACHINE.timeoutSeconds[i]}`)
  t.same(named, [
    'NONE 2',
    'ESTABLISHED 900',
    'SYN_SENT 120',
    'SYN_RECV 60',
    'FIN_WAIT 120',
    'TIME_WAIT 120',
    'CLOSE 10',
    'CLOSE_WAIT 60',
    'LAST_ACK 30',
    'LISTEN 120',
    'SYNACK 120',
  ])
})

t.test('event priority: RST, SYN, FIN, ACK', async (t) => {
  t.equal(tcpEvent(TCP_RST | TCP_SYN | TCP_FIN | TCP_ACK), 3)
  t.equal(tcpEvent(TCP_SYN | TCP_FIN | TCP_ACK), 0)
  t.equal(tcpEvent(TCP_FIN | TCP_ACK), 1)
  t.equal(tcpEvent(TCP_ACK), 2)
  t.equal(tcpEvent(0), TCP_EVENT_NONE)
})
