// Placeholders in a task's environment, host name, mounts, secrets and configs: the part of Go's
// text/template that Swarm's documents name. A placeholder is replaced by a field of the task, its
// service or its node, or by what a function makes of its arguments:
//
//   {{.Service.Name}}  {{.Task.Slot}}  {{index .Service.Labels "tier"}}  {{secret "db-password"}}
//
// {{- and -}} take away the white space next to them. Conditions, loops, variables and pipes are
// refused: a template that means more than it says must not be half carried out.

/** What a placeholder can name. Functions take and give text. */
export interface TemplateContext {
  readonly fields: TemplateFields
  readonly functions: Readonly<Record<string, (argument: string) => string>>
}

export interface TemplateFields {
  readonly [name: string]: string | TemplateFields
}

/** A template that cannot be carried out; the message names the placeholder. */
export class TemplateError extends Error {
  constructor(placeholder: string, problem: string, end = '}}') {
    super(`template: {{${placeholder}${end}: ${problem}`)
    this.name = 'TemplateError'
  }
}

const PLACEHOLDER = /(\s*)\{\{(-\s)?\s*((?:"(?:[^"\\]|\\.)*"|[^}"])*?)\s*(\s-)?\}\}(\s*)/g
const TOKEN = /\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|(\.[\w.]*)|(\w+)|(\S))/y

/** Whether there is anything to replace. */
export function isTemplate(text: string): boolean {
  return text.includes('{{')
}

/** `text` with every placeholder replaced. Throws TemplateError. */
export function expandTemplate(text: string, context: TemplateContext): string {
  if (!isTemplate(text)) return text
  checkClosed(text)
  const expanded = text.replace(
    PLACEHOLDER,
    (_, before: string, trimBefore, body: string, trimAfter, after: string) => {
      const value = evaluate(body, context)
      const left = trimBefore === undefined ? before : ''
      return `${left}${value}${trimAfter === undefined ? after : ''}`
    },
  )
  return expanded
}

/** The first placeholder that has no end. */
function checkClosed(text: string): void {
  const rest = text.replace(PLACEHOLDER, '\0')
  const at = rest.indexOf('{{')
  if (at >= 0) throw new TemplateError(rest.slice(at + 2), 'unclosed action', '')
}

type Token =
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'field'; readonly path: string }
  | { readonly kind: 'word'; readonly name: string }

function tokensOf(body: string): Token[] {
  const tokens: Token[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < body.trimEnd().length) {
    const [, quoted, field, word, other] = TOKEN.exec(body)!
    if (quoted !== undefined) tokens.push({ kind: 'text', value: unquote(quoted) })
    else if (field !== undefined) tokens.push({ kind: 'field', path: field })
    else if (word !== undefined) tokens.push({ kind: 'word', name: word })
    else throw new TemplateError(body, `"${other}" is not supported`)
  }
  return tokens
}

function unquote(quoted: string): string {
  if (quoted.startsWith('`')) return quoted.slice(1, -1)
  return quoted.slice(1, -1).replace(/\\(.)/g, (_, char: string) => ESCAPES[char] ?? char)
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' }

function evaluate(body: string, context: TemplateContext): string {
  const tokens = tokensOf(body)
  const [head, ...rest] = tokens
  if (head === undefined) throw new TemplateError(body, 'is empty')
  if (head.kind === 'text' && rest.length === 0) return head.value
  if (head.kind === 'field' && rest.length === 0) return textOf(body, field(body, head, context))
  if (head.kind !== 'word') throw new TemplateError(body, 'is not supported')
  if (head.name === 'index') return index(body, rest, context)
  if (head.name === 'join') return join(body, rest, context)
  const call = Object.hasOwn(context.functions, head.name)
    ? context.functions[head.name]
    : undefined
  if (call === undefined) throw new TemplateError(body, `function "${head.name}" not defined`)
  if (rest.length !== 1) throw new TemplateError(body, `"${head.name}" takes one argument`)
  try {
    return call(argument(body, rest[0]!, context))
  } catch (error) {
    throw new TemplateError(body, (error as Error).message)
  }
}

function field(
  body: string,
  { path }: { path: string },
  { fields }: TemplateContext,
): string | TemplateFields {
  let value: string | TemplateFields = fields
  for (const name of path.split('.').filter((part) => part !== '')) {
    if (typeof value === 'string' || !Object.hasOwn(value, name)) {
      throw new TemplateError(body, `there is no "${name}" in ${path}`)
    }
    value = value[name]!
  }
  return value
}

function textOf(body: string, value: string | TemplateFields): string {
  if (typeof value === 'string') return value
  const entries = Object.entries(value)
  if (entries.some(([, entry]) => typeof entry !== 'string')) {
    throw new TemplateError(body, 'is no text')
  }
  // As Go prints a map.
  return `map[${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, entry]) => `${name}:${entry}`)
    .join(' ')}]`
}

function argument(body: string, token: Token, context: TemplateContext): string {
  if (token.kind === 'text') return token.value
  if (token.kind === 'field') return textOf(body, field(body, token, context))
  return token.name
}

function index(body: string, rest: readonly Token[], context: TemplateContext): string {
  const [map, key] = rest
  if (map?.kind !== 'field' || key === undefined || rest.length !== 2) {
    throw new TemplateError(body, '"index" takes a field and a key')
  }
  const value = field(body, map, context)
  const name = argument(body, key, context)
  if (typeof value === 'string') throw new TemplateError(body, `${map.path} has no keys`)
  const entry = Object.hasOwn(value, name) ? value[name] : undefined
  // A key that is not there is the empty text, as in Go.
  return entry === undefined ? '' : textOf(body, entry)
}

function join(body: string, rest: readonly Token[], context: TemplateContext): string {
  if (rest.length < 2) throw new TemplateError(body, '"join" takes a separator and values')
  const [separator, ...values] = rest.map((token) => argument(body, token, context))
  return values.join(separator)
}
