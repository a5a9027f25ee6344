// The data plane's metrics as data: which counter cell is which metric, with its name, help and
// labels. Names follow the conventions of Prometheus: base units, `_total` for counters, the
// direction seen from the thing named (a backend receives requests and transmits replies).
//
// Rates. Prometheus derives rates from counters, better than any agent can, so the counters are the
// truth. `*_per_second` gauges come beside them for whoever reads one page without a database: the
// mean over the last few seconds, as IPVS estimates it (reference: net/netfilter/ipvs/ip_vs_est.c):
// a sample every 2 s, and a quarter of the difference added to the mean. rates.ts holds the
// estimator; it runs only while somebody scrapes.

import { STATE_COUNTS } from '../ipvs-emulator/state-counts.ts'
import {
  ACTIVE_CONNECTIONS,
  CONNECTIONS,
  IN_BYTES,
  IN_PACKETS,
  INACTIVE_CONNECTIONS,
  OUT_BYTES,
  OUT_PACKETS,
  PERSISTENT_CONNECTIONS,
} from '../ipvs-emulator/statistics-columns.ts'
import {
  type CounterKind,
  ENGINE_CELLS,
  FLOWS_NEW,
  RX_BYTES,
  RX_PACKETS,
  STATE_CELLS,
  TX_BYTES,
  TX_PACKETS,
} from './counters.ts'

export interface EngineMetric {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly labels: readonly string[]
  /** Label values, parallel to `labels`, to cell. */
  readonly cells: readonly (readonly [values: readonly string[], cell: number])[]
}

function single(
  type: 'counter' | 'gauge',
  name: string,
  cell: keyof typeof ENGINE_CELLS,
  help: string,
): EngineMetric {
  return { name, help, type, labels: [], cells: [[[], ENGINE_CELLS[cell]]] }
}

/** Metrics of the engine as a whole. Drops are apart: their labels come from drop-reasons.ts. */
export const ENGINE_METRICS: readonly EngineMetric[] = [
  single(
    'counter',
    'weft_frames_received_total',
    'framesIn',
    'Frames read from local ports, and ICMP errors from outside.',
  ),
  single(
    'counter',
    'weft_datagrams_received_total',
    'datagramsIn',
    'Datagrams received from the underlay.',
  ),
  single('counter', 'weft_forwarded_total', 'forwarded', 'Frames and datagrams handed on.'),
  single(
    'counter',
    'weft_answered_total',
    'answered',
    'Frames that this node answered itself (ARP, neighbour discovery, ICMP).',
  ),
  single(
    'counter',
    'weft_control_total',
    'control',
    'Datagrams that carried handshakes, keep-alives or path probes.',
  ),
  single(
    'counter',
    'weft_replicated_total',
    'replicated',
    'Copies made of broadcast and multicast frames.',
  ),
  single(
    'counter',
    'weft_merged_total',
    'merged',
    'Datagrams that went on as part of the frame before them.',
  ),
  single('gauge', 'weft_staged_frames', 'staged', 'Frames that wait for a session.'),
  single('gauge', 'weft_flows_open', 'flowsOpen', 'Flows in the connection table.'),
  single('counter', 'weft_flows_new_total', 'flowsNew', 'Flows begun.'),
  single(
    'counter',
    'weft_flows_evicted_total',
    'flowsEvicted',
    'Flows ended early, for their backend went or the table was full.',
  ),
  {
    name: 'weft_flows',
    help: 'Open flows by protocol and state.',
    type: 'gauge',
    labels: ['protocol', 'state'],
    cells: STATE_COUNTS.map(([protocol, state, cell]) => [[protocol, state], STATE_CELLS + cell]),
  },
  {
    name: 'weft_flows_restored_total',
    help: 'Flows saved by the agent before this one, by what became of them.',
    type: 'counter',
    labels: ['result'],
    cells: [
      [['restored'], ENGINE_CELLS.flowsRestored],
      [['dropped'], ENGINE_CELLS.flowsLost],
    ],
  },
  {
    name: 'weft_defence_drops_total',
    help: 'New flows and flows dropped by the defences against floods.',
    type: 'counter',
    labels: ['defence'],
    cells: [
      [['drop_packet'], ENGINE_CELLS.droppedNew],
      [['drop_entry'], ENGINE_CELLS.droppedFlows],
      [['full_table'], ENGINE_CELLS.flowsEvicted],
    ],
  },
  single(
    'counter',
    'weft_flow_probes_total',
    'probes',
    'Idle TCP flows whose ends were asked for a sign of life.',
  ),
  single(
    'counter',
    'weft_flow_retries_total',
    'retries',
    'TCP connections that a backend refused and another got.',
  ),
  single(
    'counter',
    'weft_proxy_headers_total',
    'proxyHeaders',
    'PROXY headers sent to backends, those sent again included.',
  ),
  single(
    'counter',
    'weft_outside_errors_total',
    'outsideErrors',
    'ICMP errors from outside that were passed on to backends of published ports.',
  ),
  single(
    'counter',
    'weft_resets_total',
    'resets',
    'TCP resets sent to the ends of flows that cannot go on.',
  ),
  single(
    'counter',
    'weft_underlay_refused_total',
    'socketRefused',
    'Messages that the kernel refused to send.',
  ),
  single(
    'counter',
    'weft_handshakes_initiated_total',
    'handshakesInitiated',
    'Handshakes begun by this node.',
  ),
  {
    name: 'weft_handshakes_total',
    help: 'Handshakes by how they ended.',
    type: 'counter',
    labels: ['result'],
    cells: [
      [['completed'], ENGINE_CELLS.handshakesCompleted],
      [['failed'], ENGINE_CELLS.handshakesFailed],
      [['refused'], ENGINE_CELLS.handshakesRefused],
    ],
  },
  single(
    'counter',
    'weft_handshake_cookies_total',
    'cookiesSent',
    'Cookie replies sent while under load.',
  ),
  single('counter', 'weft_rekeys_total', 'rekeys', 'Sessions replaced by a fresh one.'),
  single('counter', 'weft_roams_total', 'roamed', 'Peers whose underlay address changed.'),
  single('counter', 'weft_keepalives_total', 'keepalives', 'Keep-alives sent.'),
  single(
    'counter',
    'weft_relayed_datagrams_total',
    'relayed',
    'Datagrams passed on between peers.',
  ),
  single('counter', 'weft_loop_iterations_total', 'loops', 'Turns of the packet loop.'),
  {
    name: 'weft_loop_seconds_total',
    help: 'Time of the packet loop by phase.',
    type: 'counter',
    labels: ['phase'],
    cells: [
      [['busy'], ENGINE_CELLS.busySeconds],
      [['wait'], ENGINE_CELLS.waitSeconds],
      [['spin'], ENGINE_CELLS.spinSeconds],
    ],
  },
  single(
    'counter',
    'weft_loop_slow_turns_total',
    'slowTurns',
    'Turns of the packet loop that took longer than a millisecond.',
  ),
  single(
    'gauge',
    'weft_loop_turn_max_seconds',
    'turnSecondsMax',
    'Longest turn of the packet loop since its start.',
  ),
  single(
    'gauge',
    'weft_tables_version',
    'tablesVersion',
    'Version of the running forwarding tables.',
  ),
]

export interface RowKind {
  readonly kind: CounterKind
  /** Part of the metrics' names: weft_<noun>_receive_bytes_total. */
  readonly noun: string
  readonly labels: readonly string[]
  /** Label values from the row's name, parallel to `labels`. */
  readonly values: (name: string) => readonly string[]
  /** Whether the row counts new flows. */
  readonly hasFlows: boolean
}

/** Splits "web/10.1.0.2" at its first slash; names hold none (tables-shape.ts). */
function halves(name: string): readonly string[] {
  const slash = name.indexOf('/')
  return [name.slice(0, slash), name.slice(slash + 1)]
}

const whole = (name: string): readonly string[] => [name]

export const ROW_KINDS: readonly RowKind[] = [
  { kind: 'network', noun: 'network', labels: ['network'], values: whole, hasFlows: false },
  { kind: 'peer', noun: 'peer', labels: ['peer'], values: whole, hasFlows: false },
  { kind: 'vip', noun: 'vip', labels: ['service', 'vip'], values: halves, hasFlows: true },
  {
    kind: 'backend',
    noun: 'backend',
    labels: ['service', 'backend'],
    values: halves,
    hasFlows: true,
  },
  {
    kind: 'published',
    noun: 'published_port',
    labels: ['protocol', 'port'],
    values: halves,
    hasFlows: true,
  },
]

export interface RowColumn {
  /** Part of the metric's name between noun and unit. */
  readonly direction: 'receive' | 'transmit' | 'flows'
  readonly unit: 'bytes' | 'packets' | 'new'
  readonly column: number
}

export const ROW_COLUMNS: readonly RowColumn[] = [
  { direction: 'receive', unit: 'bytes', column: RX_BYTES },
  { direction: 'receive', unit: 'packets', column: RX_PACKETS },
  { direction: 'transmit', unit: 'bytes', column: TX_BYTES },
  { direction: 'transmit', unit: 'packets', column: TX_PACKETS },
]

export const FLOWS_COLUMN: RowColumn = { direction: 'flows', unit: 'new', column: FLOWS_NEW }

/** Everything that the balancer did, from row 0 of its statistics: name, column, sentence. The rate
 * of each is told beside it. */
export const TOTALS: readonly (readonly [stem: string, column: number, help: string])[] = [
  ['weft_balancer_flows_new', CONNECTIONS, 'Flows begun'],
  ['weft_balancer_receive_packets', IN_PACKETS, 'Packets from clients'],
  ['weft_balancer_receive_bytes', IN_BYTES, 'Bytes from clients'],
  ['weft_balancer_transmit_packets', OUT_PACKETS, 'Packets to clients'],
  ['weft_balancer_transmit_bytes', OUT_BYTES, 'Bytes to clients'],
]

export interface LoadMetric {
  readonly name: string
  readonly help: string
  /** Columns of the statistics whose sum it is. */
  readonly columns: readonly number[]
  /** Only of backends whose weight is 0. */
  readonly isDraining: boolean
}

/** What a backend has at present, over all virtual addresses and ports of its service. */
export const LOADS: readonly LoadMetric[] = [
  {
    name: 'weft_backend_flows_active',
    help: 'Established flows of the backend.',
    columns: [ACTIVE_CONNECTIONS],
    isDraining: false,
  },
  {
    name: 'weft_backend_flows_inactive',
    help: 'Flows of the backend that are not established: opening, ending, or UDP.',
    columns: [INACTIVE_CONNECTIONS],
    isDraining: false,
  },
  {
    name: 'weft_backend_persistent_clients',
    help: 'Clients that come back to the backend.',
    columns: [PERSISTENT_CONNECTIONS],
    isDraining: false,
  },
  {
    name: 'weft_backend_draining_flows',
    help: 'Flows that a backend of weight 0 still has.',
    columns: [ACTIVE_CONNECTIONS, INACTIVE_CONNECTIONS],
    isDraining: true,
  },
]
