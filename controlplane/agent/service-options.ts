// How a service's labels choose what the balancer does for it: options that the Engine API has no
// field for. A value that is not understood is told and left out; the service works as if it were
// not there.
//
//     weft.scheduler      rr, wrr, lc, … (docs/tables.md)
//     weft.affinity       "10m": a client keeps its backend as long
//     weft.prefer         node, zone, nearest
//     weft.slow-start     "30s": a new backend gets its share gradually
//     weft.idle-timeout   "1h": of established flows, at most an hour
//     weft.retry-refused  false: a refused connection is the client's to know (default true: it is
//                         tried on another backend, so a task that does not listen yet, or any
//                         more, fails nobody)
//     weft.one-packet     true: each UDP packet is balanced by itself
//
// Those of one published port are in ../store/port-labels.ts.

import type { Service } from '../../dataplane/tables.ts'
import { parseDrainTimeout } from './drain-timeout.ts'

type Options = {
  -readonly [K in
    | 'scheduler'
    | 'persistenceSeconds'
    | 'prefer'
    | 'slowStartSeconds'
    | 'idleSeconds'
    | 'retryRefused'
    | 'onePacket']?: NonNullable<Service[K]>
}

/** Null = not understood. */
type Parse = (text: string, schedulers: readonly string[]) => Options | null

const seconds =
  (key: 'persistenceSeconds' | 'slowStartSeconds' | 'idleSeconds', max: number): Parse =>
  (text) => {
    const ms = parseDrainTimeout(text)
    if (ms === null || ms > max * 1000) return null
    return { [key]: Math.ceil(ms / 1000) }
  }

const flag =
  (key: 'retryRefused' | 'onePacket'): Parse =>
  (text) =>
    text === 'true' || text === 'false' ? { [key]: text === 'true' } : null

const LABELS: Readonly<Record<string, Parse>> = {
  'weft.scheduler': (text, schedulers) => (schedulers.includes(text) ? { scheduler: text } : null),
  'weft.affinity': seconds('persistenceSeconds', 3600),
  'weft.prefer': (text) =>
    text === 'node' || text === 'zone' || text === 'nearest' ? { prefer: text } : null,
  'weft.slow-start': seconds('slowStartSeconds', 3600),
  'weft.idle-timeout': seconds('idleSeconds', 3600),
  'weft.retry-refused': flag('retryRefused'),
  'weft.one-packet': flag('onePacket'),
}

const DEFAULTS: Options = { retryRefused: true }

export function serviceOptions(
  labels: Readonly<Record<string, string>>,
  schedulers: readonly string[],
  complain: (label: string) => void,
): Options {
  let options: Options = { ...DEFAULTS }
  for (const [label, parse] of Object.entries(LABELS)) {
    const text = labels[label]
    if (text === undefined) continue
    const parsed = parse(text, schedulers)
    if (parsed === null) complain(label)
    else options = { ...options, ...parsed }
  }
  return options
}
