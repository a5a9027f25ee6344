// The harness of the benchmarks. Contestants are set up once and measured in turn: weft, first
// peer, second peer, weft, … so that whatever else the machine does falls on all of them alike. A
// figure is the median over the rounds, a ratio the ratio of medians; the lowest and highest ratio
// of a single round stand beside it. A peer that is not there keeps its row, with the reason.

import os from 'node:os'
import type { Lab } from '../cli/lab/lab.ts'
import { median } from './statistics.ts'

export interface Metric {
  readonly name: string
  readonly unit: string
}

/** What one contestant yielded in one round, by metric name. */
export type Yield = Readonly<Record<string, number>>

export interface Contestant {
  readonly name: string
  /** One measurement. A throw counts as "absent in this round" and its sentence is kept. */
  readonly measure: (seconds: number) => Promise<Yield>
}

export interface AbsentContestant {
  readonly name: string
  readonly absent: string
}

export interface Goal {
  readonly metric: string
  /** The peer that the ratio is against; absent = the figure itself is bounded. */
  readonly peer?: string
  readonly atLeast?: number
  readonly atMost?: number
}

interface Question {
  readonly name: string
  /** The question it answers, one sentence. */
  readonly question: string
  readonly metrics: readonly Metric[]
  readonly goals: readonly Goal[]
  /** False: it is measured against figures alone, and no peer has to be fetched. */
  readonly hasPeers?: boolean
}

type Contestants = Promise<readonly (Contestant | AbsentContestant)[]>

/** `contestants` sets everybody up; the one called "weft" comes first. With `lab` false it measures
 * code of this process alone and needs no namespaces. */
export type Bench = Question &
  (
    | { readonly lab?: true; readonly contestants: (lab: Lab) => Contestants }
    | { readonly lab: false; readonly contestants: () => Contestants }
  )

export interface Row {
  readonly metric: string
  readonly unit: string
  /** Median of weft, null with `weftReason` when it could not be measured. */
  readonly weft: number | null
  readonly weftReason?: string
  readonly peer: string | null
  readonly peerValue: number | null
  readonly peerReason?: string
  /** weft / peer, of the medians. */
  readonly ratio: number | null
  /** Lowest and highest ratio of one round; of the figure itself when there is no peer. */
  readonly min: number | null
  readonly max: number | null
  /** Such as ">= 0.6"; null when this row has none. */
  readonly goal: string | null
  readonly met: boolean | null
}

export interface Report {
  readonly bench: string
  readonly question: string
  readonly machine: Machine
  readonly rounds: number
  readonly seconds: number
  readonly rows: readonly Row[]
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly kernel: string
  readonly memoryGb: number
  readonly node: string
  /** One-minute load average at the start: other people's work. */
  readonly load: number
}

export function describeMachine(): Machine {
  const cpus = os.cpus()
  return {
    cpu: cpus[0]?.model ?? 'unknown',
    cores: cpus.length,
    kernel: os.release(),
    memoryGb: Math.round(os.totalmem() / 1e9),
    node: process.version,
    load: Number(os.loadavg()[0]?.toFixed(2)),
  }
}

/** What a contestant did over all rounds. */
export interface Series {
  readonly name: string
  readonly rounds: (Yield | undefined)[]
  reason?: string
}

/** Measures every contestant `rounds` times in turn. `say` is told of each figure as it comes. */
export async function measure(
  contestants: readonly (Contestant | AbsentContestant)[],
  rounds: number,
  seconds: number,
  say: (line: string) => void,
): Promise<Series[]> {
  const all = contestants.map((one): Series => ({ name: one.name, rounds: [] }))
  for (let round = 0; round < rounds; round++) {
    for (const [i, one] of contestants.entries()) {
      const series = all[i]!
      if ('absent' in one) {
        series.reason = one.absent
        continue
      }
      try {
        const got = await one.measure(seconds)
        series.rounds[round] = got
        say(`round ${round + 1}/${rounds} ${one.name}: ${figures(got)}`)
      } catch (error) {
        series.rounds[round] = undefined
        series.reason = (error as Error).message.split('\n')[0]!
        say(`round ${round + 1}/${rounds} ${one.name}: ${series.reason}`)
      }
    }
  }
  return all
}

function figures(got: Yield): string {
  return Object.entries(got)
    .map(([name, value]) => `${name} ${short(value)}`)
    .join(', ')
}

/** A number with the digits that matter. */
export function short(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US')
  return value.toPrecision(3)
}

function valuesOf(series: Series | undefined, metric: string): number[] {
  return (series?.rounds ?? []).flatMap((got) => {
    const value = got?.[metric]
    return value === undefined ? [] : [value]
  })
}

function medianOrNull(values: readonly number[]): number | null {
  return values.length === 0 ? null : median(values)
}

function isMet(goal: Goal | undefined, value: number | null): boolean | null {
  if (!goal || value === null) return null
  return value >= (goal.atLeast ?? -Infinity) && value <= (goal.atMost ?? Infinity)
}

function goalText(goal: Goal | undefined): string | null {
  if (!goal) return null
  return goal.atLeast === undefined ? `<= ${goal.atMost}` : `>= ${goal.atLeast}`
}

/** The rows of a report: one per metric and peer, or per metric where there is no peer. */
export function rowsOf(bench: Bench, all: readonly Series[]): Row[] {
  const weft = all.find((series) => series.name === 'weft')
  const peers = all.filter((series) => series.name !== 'weft')
  const rows: Row[] = []
  for (const metric of bench.metrics) {
    const own = valuesOf(weft, metric.name)
    const value = medianOrNull(own)
    const base = { metric: metric.name, unit: metric.unit, weft: value }
    const reason = value === null && weft?.reason ? { weftReason: weft.reason } : {}
    const alone = bench.goals.find((goal) => goal.metric === metric.name && !goal.peer)
    if (peers.length === 0 || alone) {
      rows.push({
        ...base,
        ...reason,
        ...{ peer: null, peerValue: null, ratio: null },
        min: own.length ? Math.min(...own) : null,
        max: own.length ? Math.max(...own) : null,
        goal: goalText(alone),
        met: isMet(alone, value),
      })
    }
    for (const peer of peers) {
      const theirs = valuesOf(peer, metric.name)
      // A peer that answers but has no such metric (memory of a kernel device) has no row for it.
      if (theirs.length === 0 && peer.reason === undefined) continue
      const peerValue = medianOrNull(theirs)
      const goal = bench.goals.find((g) => g.metric === metric.name && g.peer === peer.name)
      const ratio = value === null || peerValue === null ? null : value / peerValue
      const perRound = ratiosPerRound(weft, peer, metric.name)
      rows.push({
        ...base,
        ...reason,
        peer: peer.name,
        peerValue,
        ...(peerValue === null ? { peerReason: peer.reason ?? 'no figure' } : {}),
        ratio,
        min: perRound.length ? Math.min(...perRound) : null,
        max: perRound.length ? Math.max(...perRound) : null,
        goal: goalText(goal),
        met: isMet(goal, ratio),
      })
    }
  }
  return rows
}

function ratiosPerRound(weft: Series | undefined, peer: Series, metric: string): number[] {
  const ratios: number[] = []
  for (const [round, got] of (weft?.rounds ?? []).entries()) {
    const own = got?.[metric]
    const theirs = peer.rounds[round]?.[metric]
    if (own !== undefined && theirs !== undefined && theirs !== 0) ratios.push(own / theirs)
  }
  return ratios
}

/** The report as a table for people. */
export function table(report: Report): string {
  const head = ['metric', 'unit', 'weft', 'peer', 'value', 'ratio', 'min', 'max', 'goal', 'met']
  const number = (value: number | null): string => (value === null ? '-' : short(value))
  const body = report.rows.map((row) => [
    row.metric,
    row.unit,
    number(row.weft),
    row.peer ?? '',
    number(row.peerValue),
    number(row.ratio),
    number(row.min),
    number(row.max),
    row.goal ?? '',
    row.met === null ? '' : row.met ? 'yes' : 'NO',
  ])
  const widths = head.map((_, i) => Math.max(...[head, ...body].map((line) => line[i]!.length)))
  const draw = (line: string[]): string =>
    line
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd()
  const reasons = new Set<string>()
  for (const row of report.rows) {
    if (row.weftReason) reasons.add(`weft: ${row.weftReason}`)
    if (row.peerReason) reasons.add(`${row.peer}: ${row.peerReason}`)
  }
  const m = report.machine
  const machine = `${m.cpu}, ${m.cores} cores, Linux ${m.kernel}, Node ${m.node}, load ${m.load}`
  return [
    `${report.bench}: ${report.question}`,
    `${report.rounds} rounds of ${report.seconds} s; ${machine}`,
    '',
    ...[head, ...body].map(draw),
    ...[...reasons].map((reason) => `not measured: ${reason}`),
    '',
  ].join('\n')
}
