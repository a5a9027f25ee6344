// UDP has one state: traffic was seen. It never counts as active (ip_vs_proto_udp.c).

import { type StateMachine, stateTable } from './proto.ts'

export const UDP_NORMAL = 0

export const UDP_MACHINE: StateMachine = {
  name: 'UDP',
  stateNames: ['UDP'],
  events: ['packet'],
  timeoutSeconds: [5 * 60],
  established: -1,
  table: stateTable('NM\nin packet NM\nout packet NM\nonly packet NM', ['NM'], ['packet']),
}
