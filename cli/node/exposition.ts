// Metrics in Prometheus' text format, for what is read from values that exist anyway: no registry,
// no objects that live between two scrapes.

export type Labels = Readonly<Record<string, string>>

export interface Sample {
  readonly labels?: Labels
  readonly value: number
}

/** Latencies as they are counted: `counts` is not cumulative and has one more than the bounds. */
export interface BucketValues {
  readonly boundsMs: readonly number[]
  readonly counts: readonly number[]
  readonly count: number
  readonly sumMs: number
}

export type Metric =
  | {
      readonly name: string
      readonly help: string
      readonly type: 'counter' | 'gauge'
      readonly samples: readonly Sample[]
    }
  | {
      /** In seconds, by its name. */
      readonly name: string
      readonly help: string
      readonly type: 'histogram'
      readonly values: BucketValues
    }

export function exposition(metrics: readonly Metric[]): string {
  return metrics.map(lines).join('')
}

function lines(metric: Metric): string {
  const { name, help, type } = metric
  const head = `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`
  if (metric.type !== 'histogram') {
    return head + metric.samples.map(({ labels, value }) => line(name, labels, value)).join('')
  }
  const { boundsMs, counts, count, sumMs } = metric.values
  let below = 0
  const buckets = boundsMs.map((bound, i) => {
    below += counts[i] ?? 0
    return line(`${name}_bucket`, { le: String(bound / 1000) }, below)
  })
  return (
    head +
    buckets.join('') +
    line(`${name}_bucket`, { le: '+Inf' }, count) +
    line(`${name}_sum`, undefined, sumMs / 1000) +
    line(`${name}_count`, undefined, count)
  )
}

function line(name: string, labels: Labels | undefined, value: number): string {
  const pairs = Object.entries(labels ?? {}).map(([key, text]) => `${key}="${escaped(text)}"`)
  const shown = pairs.length === 0 ? '' : `{${pairs.join(',')}}`
  return `${name}${shown} ${Number.isFinite(value) ? value : 'NaN'}\n`
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
