// Reading an agent's metrics: the Prometheus text format, as far as a lab needs it.

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g

/** Parses the text format, version 0.0.4. Comment lines and lines that are not samples are passed
 * over. */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = []
  for (const line of text.split('\n')) {
    const match = LINE.exec(line)
    if (!match || line.startsWith('#')) continue
    const labels: Record<string, string> = {}
    for (const [, key, value] of (match[2] ?? '').matchAll(LABEL)) {
      labels[key!] = value!.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c))
    }
    samples.push({ name: match[1]!, labels, value: numberOf(match[3]!) })
  }
  return samples
}

function numberOf(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  if (text === '-Inf') return Number.NEGATIVE_INFINITY
  return Number(text)
}

/** Sum of the samples of that name that carry all of these labels; 0 when there are none. */
export function sumOf(
  samples: readonly Sample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  let sum = 0
  for (const sample of samples) {
    if (sample.name !== name) continue
    if (Object.entries(labels).every(([key, value]) => sample.labels[key] === value)) {
      sum += sample.value
    }
  }
  return sum
}

/** Merges the metrics of several agents into one text: each sample gets the label node="…", each
 * family stands together, its HELP and TYPE said once, as the format demands. */
export function mergeMetrics(texts: ReadonlyMap<string, string>): string {
  const families = new Map<string, { head: string[]; samples: string[] }>()
  for (const [node, text] of texts) {
    let family: { head: string[]; samples: string[] } | undefined
    for (const line of text.split('\n')) {
      const comment = /^# (HELP|TYPE) (\S+)/.exec(line)
      if (comment) {
        const name = comment[2]!
        family = families.get(name) ?? { head: [], samples: [] }
        families.set(name, family)
        const said = family.head.some((one) => one.startsWith(`# ${comment[1]} ${name} `))
        if (!said) family.head.push(line)
        continue
      }
      const match = LINE.exec(line)
      if (!match || !family) continue
      const [whole, name, labels, value] = match as unknown as [string, string, string, string]
      const rest = line.slice(whole.length)
      const all = labels ? `node="${node}",${labels}` : `node="${node}"`
      family.samples.push(`${name}{${all}} ${value}${rest}`)
    }
  }
  const lines = [...families.values()].flatMap(({ head, samples }) => [...head, ...samples])
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}
