// What the rest of the process may ask the packet loop, and its answers: between two turns, each a
// bounded piece of work, so that nobody who asks can hold packets up. Long listings come in pages.
// Everything here is plain data that survives structured clone.

import type { Director } from '../ipvs-emulator/director.ts'
import {
  type ConnectionPage,
  listConnectionPage,
  listServicePage,
  type ServicePage,
  type ServicePlace,
} from '../ipvs-emulator/listing.ts'
import { TOTAL_ROW } from '../ipvs-emulator/statistics.ts'
import type { BalancedServices, DrainState } from './balanced-services.ts'
import { CALLS_MAX, CONNECTION_LOOKS, KNOCKS_MAX, PAGE_ROWS } from './engine-limits.ts'
import type { PeerLinks, PeerPlace } from './peer-links.ts'

/** Seconds of established TCP, of TCP after FIN and of UDP. */
export type TimeoutSeconds = readonly [tcp: number, tcpFin: number, udp: number]

/** Questions by name, with what is given and what comes back. */
export interface Questions {
  services: { given: ServicePlace; answer: ServicePage }
  connections: { given: { readonly from: number }; answer: ConnectionPage }
  timeouts: { given: null; answer: TimeoutSeconds }
  /** A 0 leaves a timeout as it is. */
  setTimeouts: { given: TimeoutSeconds; answer: null }
  /** Zeroes the counters of a service by its key, or of all and the total; false = no such. */
  zero: { given: { readonly key: string | null }; answer: boolean }
  /** Size of the flow table. */
  capacity: { given: null; answer: number }
  /** What an endpoint still has of this node's flows. */
  drain: { given: { readonly endpoint: string }; answer: DrainState }
  /** Where the peers are now whose place the tables do not tell. */
  peers: { given: null; answer: readonly PeerPlace[] }
  /** Asks peers, by name, for a sign of life; those in `anew` for a new session as well, for a peer
   * that was started again has none of the old keys. At most KNOCKS_MAX and CALLS_MAX at a time. */
  knock: {
    given: { readonly peers: readonly string[]; readonly anew: readonly string[] }
    answer: null
  }
}

export type QuestionName = keyof Questions

export interface Question<Name extends QuestionName = QuestionName> {
  readonly name: Name
  readonly given: Questions[Name]['given']
}

type Answerers = {
  readonly [Name in QuestionName]: (
    director: Director,
    given: Questions[Name]['given'],
    services: BalancedServices,
    links: PeerLinks,
    nowMs: number,
  ) => Questions[Name]['answer']
}

const ANSWERERS: Answerers = {
  services: (director, place) => listServicePage(director, place, PAGE_ROWS),
  connections: (director, { from }) =>
    listConnectionPage(director, from, PAGE_ROWS, CONNECTION_LOOKS),
  timeouts: (director) => director.timeouts.get(),
  setTimeouts: (director, seconds) => {
    director.timeouts.set(...seconds)
    return null
  },
  zero: (director, { key }) => zero(director, key),
  capacity: (director) => director.connections.tables[0].capacity,
  drain: (_director, { endpoint }, services) => services.drainState(endpoint),
  peers: (_director, _given, _services, links) => links.places(),
  knock: (_director, { peers, anew }, _services, links, nowMs) => {
    for (const peer of peers.slice(0, KNOCKS_MAX)) links.knock(peer, nowMs)
    for (const peer of anew.slice(0, CALLS_MAX)) links.callAnew(peer, nowMs)
    return null
  },
}

/** Answers a question about the balancer or the peers. */
export function answerQuestion<Name extends QuestionName>(
  director: Director,
  services: BalancedServices,
  links: PeerLinks,
  nowMs: number,
  { name, given }: Question<Name>,
): Questions[Name]['answer'] {
  return ANSWERERS[name](director, given, services, links, nowMs)
}

function zero({ services: table }: Director, key: string | null): boolean {
  if (key === null) table.statistics.zero(TOTAL_ROW)
  let found = key === null
  for (const service of table.services) {
    if (service === null || service.gone || (key !== null && service.key !== key)) continue
    found = true
    table.statistics.zero(service.row)
    for (const pool of service.pools) {
      for (const server of pool.servers) table.statistics.zero(server.row)
    }
  }
  return found
}
