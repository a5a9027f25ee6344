// The part of Go's templates that people give to --format: {{.Field}}, {{.Spec.Name}},
// {{json .Field}}, {{upper .X}}, {{lower .X}}, {{len .X}}, {{join .List ", "}}, {{index .Map "k"}}
// and text between them. Ranges, conditions and pipelines are refused with a sentence, not
// guessed.

import { CommandError } from './command-error.ts'

const ACTION = /\{\{-?\s*(.*?)\s*-?\}\}/gs
const PATH = /^\.(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?$/

type Call = (value: unknown, argument: string | undefined) => string

const CALLS: Readonly<Record<string, Call>> = {
  json: (value) => JSON.stringify(value ?? null),
  upper: (value) => shown(value).toUpperCase(),
  lower: (value) => shown(value).toLowerCase(),
  title: (value) => shown(value).replace(/\b\w/g, (letter) => letter.toUpperCase()),
  println: (value) => `${shown(value)}\n`,
  len: (value) =>
    String(typeof value === 'string' ? value.length : Object.keys(Object(value)).length),
  join: (value, separator) => (Array.isArray(value) ? value.map(shown).join(separator ?? '') : ''),
  index: (value, key) => {
    const found = (Object(value) as Record<string, unknown>)[key ?? '']
    return found === undefined ? '' : shown(found)
  },
}

/** Throws CommandError for what is no such template, or names a field that is not there. */
export function renderTemplate(template: string, values: unknown): string {
  if (template.replace(ACTION, '').includes('{{')) {
    throw new CommandError('template parsing error: template: :1: unclosed action')
  }
  return template.replace(ACTION, (_, action: string) => {
    const parts = /^(?:([a-z]+)\s+)?(\.[\w.]*)(?:\s+"((?:[^"\\]|\\.)*)"|\s+(\d+))?$/.exec(action)
    const [, name, path, quoted, number] = parts ?? []
    if (path === undefined || !PATH.test(path)) throw unknownTemplate(action)
    if (name === undefined) return shown(valueAt(values, path))
    const call = Object.hasOwn(CALLS, name) ? CALLS[name] : undefined
    if (call === undefined) {
      throw new CommandError(`template parsing error: template: function "${name}" not defined`)
    }
    return call(valueAt(values, path), quoted ?? number)
  })
}

function unknownTemplate(action: string): CommandError {
  return new CommandError(
    `template parsing error: "{{${action}}}" is more than this command's templates know`,
  )
}

function valueAt(values: unknown, path: string): unknown {
  let value = values
  for (const name of path.split('.').filter((part) => part !== '')) {
    const parent = Object(value) as Record<string, unknown>
    if (!Object.hasOwn(parent, name)) {
      throw new CommandError(`template: :1: can't evaluate field ${name} in ${path}`)
    }
    value = parent[name]
  }
  return value
}

/** As Go prints it, but for maps and structures, which are shown as JSON. */
function shown(value: unknown): string {
  if (value === null || value === undefined) return '<no value>'
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
