// Reads files of the data-driven format that etcd's tests use (github.com/cockroachdb/datadriven):
//
//   # comment
//   command arg key=value key=(value, value) \
//     continued
//   input lines
//   ----
//   expected output, up to the first blank line
//
// An output that has blank lines itself stands between two doubled separators, `----` twice before
// it and twice after it.

export interface Argument {
  readonly key: string
  readonly values: readonly string[]
}

export interface Directive {
  /** `file:line`, for people. */
  readonly place: string
  readonly command: string
  readonly args: readonly Argument[]
  readonly input: readonly string[]
  readonly expected: readonly string[]
}

const SEPARATOR = '----'

/** All directives of a file's text. Throws when the text ends within one. */
export function parseDirectives(name: string, text: string): Directive[] {
  const lines = text.split('\n')
  const directives: Directive[] = []
  let at = 0
  while (at < lines.length) {
    let line = lines[at]!.trim()
    if (line === '' || line.startsWith('#')) {
      at++
      continue
    }
    const place = `${name}:${at + 1}`
    while (line.endsWith('\\')) line = `${line.slice(0, -1)} ${(lines[++at] ?? '').trim()}`
    at++
    const separator = lines.indexOf(SEPARATOR, at)
    if (separator < 0) throw new Error(`${place}: no ${SEPARATOR} follows`)
    const input = lines.slice(at, separator)
    const { expected, next } = readExpected(lines, separator + 1, place)
    at = next
    directives.push({ place, ...parseCommand(line), input, expected })
  }
  return directives
}

/** Splits `command arg key=value key=(a, b)`. */
export function parseCommand(line: string): { command: string; args: Argument[] } {
  const tokens = line.match(/[^\s=]+(=(\([^)]*\)|\S*))?/g) ?? []
  const args = tokens.map((token): Argument => {
    const equals = token.indexOf('=')
    if (equals < 0) return { key: token, values: [] }
    const value = token.slice(equals + 1)
    const list = value.startsWith('(') ? value.slice(1, -1).split(/[\s,]+/) : [value]
    return { key: token.slice(0, equals), values: list.filter((item) => item !== '') }
  })
  return { command: args[0]?.key ?? '', args: args.slice(1) }
}

function readExpected(
  lines: readonly string[],
  at: number,
  place: string,
): { expected: string[]; next: number } {
  if (lines[at] === SEPARATOR) {
    for (let end = at + 1; end < lines.length; end++) {
      if (lines[end] === SEPARATOR && lines[end + 1] === SEPARATOR) {
        return { expected: lines.slice(at + 1, end), next: end + 2 }
      }
    }
    throw new Error(`${place}: the doubled separator is not closed`)
  }
  let end = at
  while (end < lines.length && lines[end] !== '') end++
  return { expected: lines.slice(at, end), next: end + 1 }
}
