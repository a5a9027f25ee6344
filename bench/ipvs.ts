import type { Bench, Yield } from './harness.ts'
import {
  established,
  fill,
  flood,
  heapGrowth,
  longestExpiry,
  longestOpening,
  moved,
  opened,
  rebuild,
  residentBytes,
} from './load/balancing.ts'
import { Flows, service } from './load/flows.ts'

const MANY = 2_000_000
const FEW = 1000
const HEAP_PACKETS = 10_000_000
/** Connections opened per round, on top of those of the table. */
const OPENED = 100_000
const OPENED_ON = 500_000
/** Connections that come and go while the longest pause is looked for. */
const PASSING = 300_000

const FEW_NAME = '1,000 connections'
const BURSTS = 'look-up and NAT in bursts of 64'
const SINGLY = 'look-up and NAT, one at a time'

interface Lasting {
  /** MANY established flows. */
  readonly many: Flows
  readonly bytesPerConnection: number
  /** A wlc service under which connections are opened. */
  readonly wlc: Flows
}

/** Made once; the rounds only use it. */
function prepare(): Lasting {
  const many = new Flows(MANY, service())
  // Compiled code is not to be counted among the connections.
  fill(many, 0, FEW)
  const before = residentBytes()
  fill(many, FEW, MANY)
  const bytesPerConnection = (residentBytes() - before) / (MANY - FEW)
  const wlc = new Flows(OPENED_ON + OPENED, service({ scheduler: 'wlc' }))
  for (let i = 0; i < OPENED_ON; i++) wlc.syn(i)
  return { many, bytesPerConnection, wlc }
}

function weft(lasting: Lasting, seconds: number): Yield {
  const { many, bytesPerConnection, wlc } = lasting
  const mh = rebuild()
  const attack = flood()
  return {
    'memory per connection': bytesPerConnection,
    [BURSTS]: established(many, MANY, true, seconds),
    [SINGLY]: established(many, MANY, false, seconds),
    'new connection, wlc of 100': opened(wlc, OPENED_ON, OPENED),
    'mh rebuild': mh.totalMs,
    'mh rebuild, longest turn': mh.turnMs,
    'mh rebuild, new configuration': mh.applyMs,
    'needlessly moved by mh': moved(),
    'established flows lost': attack.lost,
    'goodput kept': attack.goodput,
    'forged SYN on a full table': attack.synNs,
    'heap per packet': heapGrowth(many, MANY, HEAP_PACKETS),
    'longest of 16 openings': longestOpening(PASSING),
    'longest turn of expiry': longestExpiry(PASSING),
  }
}

function few(seconds: number): Yield {
  const flows = new Flows(FEW, service())
  fill(flows, 0, FEW)
  return {
    [BURSTS]: established(flows, FEW, true, seconds),
    [SINGLY]: established(flows, FEW, false, seconds),
  }
}

export const bench: Bench = {
  name: 'ipvs',
  question: 'What does the load balancer cost at 2,000,000 connections, and what does it keep?',
  lab: false,
  metrics: [
    { name: 'memory per connection', unit: 'B' },
    { name: BURSTS, unit: 'ns' },
    { name: SINGLY, unit: 'ns' },
    { name: 'new connection, wlc of 100', unit: 'ns' },
    { name: 'mh rebuild', unit: 'ms' },
    { name: 'mh rebuild, longest turn', unit: 'ms' },
    { name: 'mh rebuild, new configuration', unit: 'ms' },
    { name: 'needlessly moved by mh', unit: '%' },
    { name: 'established flows lost', unit: '1' },
    { name: 'goodput kept', unit: '%' },
    { name: 'forged SYN on a full table', unit: 'ns' },
    { name: 'heap per packet', unit: 'B' },
    { name: 'longest of 16 openings', unit: 'ms' },
    { name: 'longest turn of expiry', unit: 'ms' },
  ],
  goals: [
    { metric: 'memory per connection', atMost: 96 },
    { metric: BURSTS, atMost: 250 },
    { metric: BURSTS, peer: FEW_NAME, atMost: 3 },
    { metric: SINGLY, peer: FEW_NAME, atMost: 3 },
    { metric: SINGLY, atMost: 250 },
    { metric: 'new connection, wlc of 100', atMost: 1500 },
    { metric: 'mh rebuild', atMost: 50 },
    { metric: 'mh rebuild, longest turn', atMost: 1 },
    { metric: 'needlessly moved by mh', atMost: 2 },
    { metric: 'established flows lost', atMost: 0 },
    { metric: 'goodput kept', atLeast: 80 },
    { metric: 'heap per packet', atMost: 0.1 },
    { metric: 'longest of 16 openings', atMost: 1 },
    { metric: 'longest turn of expiry', atMost: 1 },
  ],
  async contestants() {
    const lasting = prepare()
    return [
      { name: 'weft', measure: async (seconds) => weft(lasting, seconds) },
      { name: FEW_NAME, measure: async (seconds) => few(seconds) },
    ]
  },
}
