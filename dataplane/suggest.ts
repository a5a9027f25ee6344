// "Did you mean": the known word nearest to one that is unknown.

/** Edits (insert, delete, replace, swap neighbours) between two words: optimal string alignment. */
function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0)),
  )
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const replaced = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, replaced)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, rows[i - 2]![j - 2]! + 1)
      }
      rows[i]![j] = best
    }
  }
  return rows[a.length]![b.length]!
}

/** Words longer than this are not compared: the time is quadratic. */
const WORD_LENGTH_MAX = 64
/** Candidates looked at; past this a suggestion is not worth its time. */
const CANDIDATES_MAX = 2000

/** The known word within a third of its length in edits (at least one), or null. */
export function nearest(word: string, known: Iterable<string>): string | null {
  if (word.length > WORD_LENGTH_MAX) return null
  let best: string | null = null
  let bestDistance = Number.POSITIVE_INFINITY
  let seen = 0
  for (const candidate of known) {
    if (++seen > CANDIDATES_MAX) break
    if (Math.abs(candidate.length - word.length) > 3) continue
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance && distance <= Math.max(1, Math.floor(candidate.length / 3))) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** `; did you mean "x"?`, or an empty string. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const near = nearest(word, known)
  return near === null ? '' : `; did you mean "${near}"?`
}
