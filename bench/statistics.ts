// The little statistics the benchmarks need.

/** Median of a list; NaN of an empty one. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Quantile 0..1 with linear interpolation between neighbours; NaN of an empty list. */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN
  const sorted = Float64Array.from(values).sort()
  const place = (sorted.length - 1) * share
  const low = Math.floor(place)
  const below = sorted[low]!
  const above = sorted[Math.min(low + 1, sorted.length - 1)]!
  return below + (above - below) * (place - low)
}
