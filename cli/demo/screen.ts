// Drawing for the terminal: pure functions from figures to lines of at most 80 columns. Colour is a
// matter of the paint that is handed in; without a terminal, or with NO_COLOR, it does nothing.

export type Colour = 'green' | 'red' | 'yellow' | 'blue' | 'dim' | 'bold'

const CODES: Readonly<Record<Colour, string>> = {
  bold: '1',
  dim: '2',
  red: '31',
  green: '32',
  yellow: '33',
  blue: '36',
}

export type Paint = (colour: Colour, text: string) => string

export const noPaint: Paint = (_, text) => text
export const ansiPaint: Paint = (colour, text) => `\x1b[${CODES[colour]}m${text}\x1b[0m`

export interface NodeView {
  readonly name: string
  /** "ready", "down", …, and "leader", "manager" or "worker". */
  readonly state: string
  readonly role: string
  readonly outside: string
  readonly underlay: string
  /** Tasks on it that are to run, and their states. */
  readonly tasks: readonly { readonly name: string; readonly state: string }[]
}

export interface TopologyView {
  readonly client: string
  /** Published ports, in words. */
  readonly ports: string
  /** Virtual addresses of the service web. */
  readonly vips: string
  readonly nodes: readonly NodeView[]
}

/** Columns of one node's box. */
const BOX = 25

/** Pads `text` by what it shows, not by what colour adds to it. */
function pad(text: string, shown: number, width: number): string {
  return text + ' '.repeat(Math.max(0, width - shown))
}

/** The topology as a picture: client, the outside, the nodes with their tasks, the underlay. */
export function drawTopology(view: TopologyView, paint: Paint): string[] {
  const { nodes } = view
  // Room for the tasks of a node that dies: the picture keeps its size.
  const rows = Math.max(4, ...nodes.map((node) => node.tasks.length))
  const across = (piece: (node: NodeView) => [string, number]): string =>
    nodes
      .map((node) => pad(...piece(node), BOX))
      .join(' ')
      .trimEnd()
  const plain = (text: string): [string, number] => [text, text.length]
  const line = (left: string, fill: string, right: string): string =>
    nodes.map(() => `${left}${fill.repeat(BOX - 2)}${right}`).join(' ')
  const boxed = (text: string, shown: number): string => `│${pad(` ${text}`, shown + 1, BOX - 2)}│`
  const row = (piece: (node: NodeView) => [string, number]): string =>
    nodes.map((node) => boxed(...piece(node))).join(' ')
  const bus = (name: string): string => {
    const width = nodes.length * (BOX + 1) - 1
    const label = ` ${name} `
    return paint('dim', `══${label}${'═'.repeat(Math.max(0, width - 2 - label.length))}`)
  }
  const out = [
    `   client ${view.client}`,
    bus('outside: plain TCP'),
    across((node) => plain(`     │ ${node.outside}`)),
    line('┌', '─', '┐'),
    row((node) => {
      const words = `${node.state}, ${node.role}`
      const colour = node.state === 'ready' ? 'green' : 'red'
      return [
        `${paint('bold', node.name)} ${paint(colour, words)}`,
        node.name.length + 1 + words.length,
      ]
    }),
    row(() => plain(view.ports)),
  ]
  for (let i = 0; i < rows; i++) {
    out.push(
      row((node) => {
        const task = node.tasks[i]
        if (!task) return plain('')
        const runs = task.state === 'running' && node.state === 'ready'
        const text = `${runs ? '●' : '○'} ${task.name} ${task.state}`
        return [paint(runs ? 'green' : 'yellow', text), text.length]
      }),
    )
  }
  out.push(
    line('└', '─', '┘'),
    across((node) => plain(`     │ ${node.underlay}`)),
    bus('underlay: UDP 4789, sealed with AES-256-GCM'),
    `   VIP of "web" on network "front": ${view.vips}`,
  )
  return out
}

export interface LiveView {
  readonly topology: TopologyView
  /** Per way of asking: how often each replica answered, failures, the last answer or failure. */
  readonly ways: readonly WayView[]
  readonly underlay: {
    readonly packetsPerSecond: number
    readonly megabitsPerSecond: number
    /** Packets looked into so far, and how many were readable. */
    readonly looked: number
    readonly readable: number
    /** The same sentence seen outside: the listener is not deaf. */
    readonly control: number
  }
  readonly metricsUrl: string
  readonly message: string
}

export interface WayView {
  readonly name: string
  readonly answers: ReadonlyMap<string, number>
  readonly failures: number
  readonly medianMs: number
  readonly last: string
}

function wayLines(way: WayView, paint: Paint): string[] {
  const counts = [...way.answers]
    .sort()
    .map(([name, count]) => `${name} ${count}`.padEnd(11))
    .join(' ')
  const failures = `${way.failures} failed`
  const median = Number.isNaN(way.medianMs) ? '' : `  ${way.medianMs.toFixed(1)} ms`
  const painted = way.failures > 0 ? paint('yellow', failures) : failures
  return [
    `  ${way.name.padEnd(21)} ${counts} ${painted}${median}`.trimEnd(),
    paint('dim', `      ${way.last}`.slice(0, 79)),
  ]
}

/** The live display. */
export function drawLive(view: LiveView, paint: Paint): string[] {
  const { underlay } = view
  const verdict =
    underlay.readable === 0
      ? paint('green', `${underlay.looked} packets looked into, none readable`)
      : paint('red', `${underlay.readable} of ${underlay.looked} packets READABLE`)
  const packets = Math.round(underlay.packetsPerSecond)
  const rate = `${packets} packets/s, ${underlay.megabitsPerSecond.toFixed(1)} Mb/s`
  return [
    ...drawTopology(view.topology, paint),
    '',
    paint('bold', 'Who answers'),
    ...view.ways.flatMap((way) => wayLines(way, paint)),
    paint('bold', 'Underlay of node1'),
    `  ${rate}; ${verdict}`,
    paint(
      'dim',
      `  control: the same sentence seen ${underlay.control} times outside, where it is plain`,
    ),
    `${paint('bold', 'Metrics')}  ${paint('blue', view.metricsUrl)}`,
    `${paint('bold', 'Keys')}     k kill a node   r bring it back   u rolling update   q quit`,
    view.message.slice(0, 79),
  ]
}
