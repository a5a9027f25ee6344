// What single options of services say, as the Engine API has it: "published=80,target=8080",
// "source=s,mode=0400". Pure; what is wrong is a CommandError with the docker CLI's words.

import { isIP } from 'node:net'
import { shortPorts } from '../stack/convert-ports.ts'
import { compact, type Json } from '../stack/json.ts'
import { shellWords } from '../stack/shell-words.ts'
import { durationNs, nanoCpus, sizeBytes } from '../stack/units.ts'
import { CommandError } from './command-error.ts'

/** The value of an option, or CommandError. */
export type Parse = (value: string, option: string) => unknown

export function invalid(value: string, option: string, why: string): CommandError {
  return new CommandError(`invalid argument "${value}" for "--${option}" flag: ${why}`)
}

export const asText: Parse = (value) => value

export const asDuration: Parse = (value, option) => {
  const ns = durationNs(value)
  if (ns === undefined) throw invalid(value, option, `time: invalid duration "${value}"`)
  return ns
}

export const asSize: Parse = (value, option) => {
  const bytes = sizeBytes(value)
  if (bytes === undefined) throw invalid(value, option, `invalid size: '${value}'`)
  return bytes
}

export const asCpus: Parse = (value, option) => {
  const nano = nanoCpus(value)
  if (nano === undefined) throw invalid(value, option, 'value is not a number of CPUs')
  return nano
}

export const asWords: Parse = (value, option) => {
  const words = shellWords(value)
  if (words === undefined) throw invalid(value, option, 'invalid command line string')
  return words
}

export const asCount: Parse = (value, option) => {
  if (!/^\d{1,15}$/.test(value)) throw invalid(value, option, 'invalid syntax')
  return Number(value)
}

export const asInteger: Parse = (value, option) => {
  if (!/^-?\d{1,15}$/.test(value)) throw invalid(value, option, 'parse error')
  return Number(value)
}

export const asRatio: Parse = (value, option) => {
  const ratio = Number(value)
  if (value.trim() === '' || !(ratio >= 0 && ratio <= 1)) {
    throw invalid(value, option, 'must be between 0 and 1')
  }
  return ratio
}

/** "KEY=VALUE"; a key alone has the value ''. */
export function keyValue(value: string): [key: string, value: string] {
  const at = value.indexOf('=')
  return at < 0 ? [value, ''] : [value.slice(0, at), value.slice(at + 1)]
}

/** "host:ip" as hosts(5) has it. */
export const asHost: Parse = (value, option) => {
  const match = /^([^:=]+)[:=](.+)$/s.exec(value)
  if (match === null) throw invalid(value, option, `bad format for add-host: "${value}"`)
  const address = match[2]!.replace(/^\[(.*)\]$/, '$1')
  // What stands for the node's own address is the agent's to fill in.
  if (isIP(address) === 0 && address !== 'host-gateway') {
    throw invalid(value, option, `invalid IP address in add-host: "${address}"`)
  }
  return `${address} ${match[1]}`
}

/** An address alone. */
export const asAddress: Parse = (value, option) => {
  if (isIP(value.trim()) !== 0) return value.trim()
  throw invalid(value, option, `IP address is not correctly formatted: ${value}`)
}

/** "spread=node.labels.zone". */
export const asPreference: Parse = (value, option) => {
  const [key, descriptor] = keyValue(value)
  if (!value.includes('=')) throw invalid(value, option, 'must have the format "<strategy>=<arg>"')
  if (key !== 'spread') throw invalid(value, option, `unsupported placement preference ${key}`)
  return { Spread: { SpreadDescriptor: descriptor } }
}

/** The limits of getrlimit(2). */
const ULIMITS: readonly string[] = [
  'core',
  'cpu',
  'data',
  'fsize',
  'locks',
  'memlock',
  'msgqueue',
  'nice',
  'nofile',
  'nproc',
  'rss',
  'rtprio',
  'rttime',
  'sigpending',
  'stack',
]

/** "nofile=1024[:2048]". */
export const asUlimit: Parse = (value, option) => {
  const match = /^(\w+)=(-?\d{1,15})(?::(-?\d{1,15}))?$/.exec(value)
  if (match === null) throw invalid(value, option, `invalid ulimit argument: ${value}`)
  if (!ULIMITS.includes(match[1]!)) {
    throw invalid(value, option, `invalid ulimit type: ${match[1]}`)
  }
  const soft = Number(match[2])
  const hard = Number(match[3] ?? match[2])
  if (hard !== -1 && soft > hard) {
    throw invalid(value, option, `ulimit soft limit must be less than or equal to hard limit`)
  }
  return { Name: match[1], Soft: soft, Hard: hard }
}

/** "gpu=2". */
export const asGenericResource: Parse = (value, option) => {
  const [Kind, count] = keyValue(value)
  if (Kind === '' || !/^\d{1,15}$/.test(count)) {
    const why = 'named generic resources are not supported for services: only numbers are'
    throw invalid(value, option, why)
  }
  return { DiscreteResourceSpec: { Kind, Value: Number(count) } }
}

/** Fields of a line of comma-separated values, with '"' around those that hold commas. */
export function csvFields(line: string, option: string): string[] {
  const fields: string[] = []
  const field = /(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/y
  for (;;) {
    const match = field.exec(line)
    if (match === null) throw invalid(line, option, 'a quotation mark is where none can be')
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2]!)
    if (match[3] === '') return fields
  }
}

/** "key=value" fields, keys in lower case. `alone`: keys that mean true without a value. */
export function csvPairs(
  line: string,
  option: string,
  alone: readonly string[] = [],
): [key: string, value: string][] {
  return csvFields(line, option).map((field) => {
    const at = field.indexOf('=')
    const key = (at < 0 ? field : field.slice(0, at)).trim().toLowerCase()
    if (at >= 0) return [key, field.slice(at + 1)]
    if (alone.includes(key)) return [key, 'true']
    throw invalid(line, option, `invalid field '${field}' must be a key=value pair`)
  })
}

/** One option may publish a range. */
export function ports(value: string, option: string): Json[] {
  if (!value.includes('=')) {
    const found = shortPorts(value)
    if (typeof found === 'string') throw invalid(value, option, found)
    return [...found]
  }
  const port: Json = { Protocol: 'tcp', PublishMode: 'ingress' }
  for (const [key, part] of csvPairs(value, option)) {
    if (key === 'protocol') port.Protocol = oneOf(part, ['tcp', 'udp', 'sctp'], key, option)
    else if (key === 'mode') port.PublishMode = oneOf(part, ['ingress', 'host'], key, option)
    else if (key === 'target') port.TargetPort = portNumber(part, option)
    else if (key === 'published') port.PublishedPort = portNumber(part, option)
    else throw invalid(value, option, `invalid field key ${key}`)
  }
  if (port.TargetPort === undefined)
    throw invalid(value, option, 'missing mandatory field "target"')
  return [port]
}

function portNumber(text: string, option: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port >= 1 && port <= 65_535)) throw invalid(text, option, 'not a port')
  return port
}

function oneOf(text: string, known: readonly string[], key: string, option: string): string {
  const word = text.toLowerCase()
  if (known.includes(word)) return word
  throw invalid(text, option, `invalid ${key} value '${word}' (must be one of ${known.join(', ')})`)
}

/** A network: its name, or "name=N,alias=A,driver-opt=K=V". `Target` is the name. */
export const asNetwork: Parse = (value, option) => {
  if (!value.includes('=')) return { Target: value }
  const aliases: string[] = []
  const options: Record<string, string> = {}
  let target = ''
  for (const [key, part] of csvPairs(value, option)) {
    if (key === 'name') target = part
    else if (key === 'alias') aliases.push(part)
    else if (key === 'driver-opt') {
      const [name, setting] = keyValue(part)
      options[name] = setting
    } else throw invalid(value, option, `invalid field key ${key}`)
  }
  if (target === '') throw invalid(value, option, 'network name/id is not specified')
  return compact({ Target: target, Aliases: aliases, DriverOpts: options })
}

/** "0440" is octal, "288" decimal, as Go reads numbers. */
function fileMode(text: string, value: string, option: string): number {
  if (/^0o?[0-7]{1,6}$/.test(text)) return Number.parseInt(text.replace('o', ''), 8)
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw invalid(value, option, `invalid mode specified: ${text}`)
}

/** A secret or config: its name, or "source=S,target=T,uid=0,gid=0,mode=0444". */
export function asReference(kind: 'Secret' | 'Config'): Parse {
  return (value, option) => {
    const file: Json = { Name: undefined, UID: '0', GID: '0', Mode: 0o444 }
    let source = ''
    const fields: [string, string][] = value.includes('=')
      ? csvPairs(value, option)
      : [['source', value]]
    for (const [key, part] of fields) {
      if (key === 'source' || key === 'src') source = part
      else if (key === 'target') file.Name = part
      else if (key === 'uid' || key === 'gid') file[key.toUpperCase()] = part
      else if (key === 'mode') file.Mode = fileMode(part, value, option)
      else throw invalid(value, option, `invalid field in ${kind.toLowerCase()} request: ${key}`)
    }
    if (source === '') throw invalid(value, option, 'source is required')
    return { [`${kind}Name`]: source, File: { ...file, Name: file.Name ?? source } }
  }
}
