// A line as a shell splits it into words: quotes and backslashes, no variables.

const WORD = /\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s"'\\])+)/gy
const PIECE = /"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/gs

/** Undefined where a quotation mark has no pair. */
export function shellWords(line: string): string[] | undefined {
  const found: string[] = []
  const word = new RegExp(WORD)
  while (word.lastIndex < line.trimEnd().length) {
    const match = word.exec(line)
    if (match === null) return undefined
    found.push(
      match[1]!.replace(PIECE, (_, double, single, escaped) => {
        if (double !== undefined) return String(double).replace(/\\(["\\$`])/g, '$1')
        return single ?? escaped
      }),
    )
  }
  return found
}
