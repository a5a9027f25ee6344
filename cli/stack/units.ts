// Durations, sizes and shares as compose files and the docker CLI write them.

const DURATION_PART = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/gy
const NANOSECONDS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
}

/** "1h30m", "10s", "1.5s" in nanoseconds (Go's time.ParseDuration); undefined for what is none. */
export function durationNs(text: string): number | undefined {
  if (text === '0') return 0
  DURATION_PART.lastIndex = 0
  let total = 0
  while (DURATION_PART.lastIndex < text.length) {
    const match = DURATION_PART.exec(text)
    if (match === null) return undefined
    total += Number(match[1]) * NANOSECONDS[match[2]!]!
  }
  return text === '' ? undefined : Math.round(total)
}

/** "512m", "1.5gb", "1073741824" in bytes; undefined for what is none. */
export function sizeBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text)
  if (match === null) return undefined
  const power = 'kmgtp'.indexOf((match[2] ?? '').toLowerCase()) + 1
  return Math.floor(Number(match[1]) * 1024 ** (match[2] === '' ? 0 : power))
}

/** "0.5" of a core in NanoCPUs; undefined for what is none, or is finer than that. */
export function nanoCpus(text: string): number | undefined {
  if (!/^\d+(\.\d{1,9})?$/.test(text)) return undefined
  return Math.round(Number(text) * 1e9)
}
