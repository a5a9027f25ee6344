// A command line as switches with their values, in the manner of popt(3), which ipvsadm uses:
//
//   -Ln  -t1.2.3.4:80  -t 1.2.3.4:80  -t=1.2.3.4:80  --scheduler rr  --scheduler=rr  -p  -p 300
//
// Short switches may stand together, the last of them with a value. An optional value is the next
// argument unless that begins with "-". Other arguments are kept apart, and "--" ends the switches.
// Long names are not to be shortened.

import { IpvsFailure, STATUS_REFUSED, tryHelp } from './failure.ts'
import { SHORT, SWITCHES } from './grammar.ts'

export interface Given {
  /** Long name of the switch. */
  readonly name: string
  /** Null when it takes none or, optional, has none. */
  readonly value: string | null
  /** The argument in which it stood, as messages show it. */
  readonly shown: string
}

export interface Read {
  readonly given: readonly Given[]
  /** What stood between the switches, and behind "--". */
  readonly rest: readonly string[]
  /** Why reading stopped early, to be told when what came before it is in order. */
  readonly failure: IpvsFailure | null
}

/** Reads arguments as far as they can be. */
export function readArguments(args: readonly string[]): Read {
  const given: Given[] = []
  const rest: string[] = []
  let at = 0
  const next = (optional: boolean): string | null => {
    const value = args[at]
    if (value === undefined || (optional && value.startsWith('-'))) return null
    at++
    return value
  }
  while (at < args.length) {
    const argument = args[at++]!
    if (argument === '--') {
      rest.push(...args.slice(at))
      break
    }
    if (!argument.startsWith('-') || argument === '-') {
      rest.push(argument)
      continue
    }
    const wrong = argument.startsWith('--')
      ? readLong(argument, next, given)
      : readShort(argument, next, given)
    if (wrong === null) continue
    // What cannot be read where the command should stand gets the general hint.
    const failure =
      given.length === 0 ? tryHelp() : new IpvsFailure(STATUS_REFUSED, `${argument}: ${wrong}`)
    return { given, rest, failure }
  }
  return { given, rest, failure: null }
}

type Next = (optional: boolean) => string | null

/** Adds what an argument gives to `given`. Returns what is wrong with it, null when nothing is. */
function readLong(argument: string, next: Next, given: Given[]): string | null {
  const equals = argument.indexOf('=')
  const name = argument.slice(2, equals < 0 ? undefined : equals)
  if (!Object.hasOwn(SWITCHES, name)) return 'unknown option'
  const attached = equals < 0 ? null : argument.slice(equals + 1)
  const value = readValue(name, attached, next)
  if (typeof value === 'string') return value
  given.push({ name, value: value.value, shown: argument })
  return null
}

function readShort(argument: string, next: Next, given: Given[]): string | null {
  for (let i = 1; i < argument.length; i++) {
    const name = SHORT.get(argument[i]!)
    if (name === undefined) return 'unknown option'
    const tail = argument.slice(i + 1)
    const takes = SWITCHES[name]!.value !== undefined
    if (takes || tail.startsWith('=')) {
      const attached = tail === '' ? null : tail.replace(/^=/, '')
      const value = readValue(name, attached, next)
      if (typeof value === 'string') return value
      given.push({ name, value: value.value, shown: argument })
      return null
    }
    given.push({ name, value: null, shown: argument })
  }
  return null
}

/** The value of a switch, or what is wrong. */
function readValue(
  name: string,
  attached: string | null,
  next: Next,
): { value: string | null } | string {
  const wants = SWITCHES[name]!.value
  if (wants === undefined) {
    return attached === null ? { value: null } : 'option does not take an argument'
  }
  if (attached !== null) return { value: attached }
  const value = next(wants === 'optional')
  return value === null && wants === 'required' ? 'missing argument' : { value }
}
