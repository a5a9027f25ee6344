// The options of `weft up`, checked.

import { readFileSync } from 'node:fs'
import { hostname as systemHostname } from 'node:os'
import { join, resolve } from 'node:path'
import type { LogLevel } from '../../base/log.ts'
import type { ListenOn } from '../../controlplane/api/server.ts'
import type { GenericResource } from '../../controlplane/store/specs.ts'
import { didYouMean } from '../../dataplane/suggest.ts'
import { EXIT_RESTART, UsageError } from '../exit.ts'
import { fileReason } from '../key-file.ts'
import { LOG_FORMATS, LOG_LEVELS, type LogFormat } from '../log-lines.ts'
import { type ListenAddress, parseListenAddress } from '../metrics-server.ts'
import { RUN_DIRECTORY_DEFAULT } from '../run-directory.ts'
import { type Arguments, parseArguments, textOption } from '../verb.ts'
import { splitAddress } from './addresses.ts'
import type { Runtime } from './executors.ts'

export const DATA_DIRECTORY_DEFAULT: string = '/var/lib/weft'
const ENGINE_DEFAULT = 'unix:///var/run/docker.sock'
const PLUGIN_DIRECTORY_DEFAULT = '/run/docker/plugins'
const TLS_PORT = 2376
const RUNTIMES: readonly Runtime[] = ['auto', 'docker', 'process']

export const usage: string = `usage: weft up [OPTIONS]

Runs this node: serves the Docker Engine API's swarm part (everything else goes
to the local Docker engine, where there is one), and takes part in a swarm as
that API asks for. A stop leaves the tasks running; the next start takes them
over. SIGINT and SIGTERM stop it and undo its rules; SIGUSR2 stops it with
status ${EXIT_RESTART} and holds the published ports for a start that follows at once.

  --data-dir DIR           What must outlive a reboot (default ${DATA_DIRECTORY_DEFAULT})
  --run-dir DIR            Sockets and what a restart needs (default ${RUN_DIRECTORY_DEFAULT})
  -H, --host ADDRESS       Where the API is served: unix://PATH (default
                           unix://RUN-DIR/weft.sock), tcp://HOST[:PORT] with the
                           three TLS options; repeatable
  --tlscacert FILE         Who may call over TCP: clients of this CA
  --tlscert FILE           Certificate shown over TCP
  --tlskey FILE            Its key
  --group NAME             Group that may use the unix sockets (mode 0660)
  --engine ADDRESS         The Docker engine (default
                           ${ENGINE_DEFAULT})
  --plugin-dir DIR         Where the engine looks for network drivers (default
                           ${PLUGIN_DIRECTORY_DEFAULT})
  --runtime RUNTIME        What runs tasks: auto (default), docker or process
  --advertise-addr ADDR    Address or interface to advertise when swarm init and
                           swarm join name none
  --metrics ADDR:PORT      Serve Prometheus metrics there; PORT alone = loopback
  --hostname NAME          Name of the node (default: the host's)
  --label KEY=VALUE        Label of the engine; repeatable. "zone" says where
                           the node stands; "behind-nat=true" that other nodes
                           cannot call it
  --generic-resource KIND=VALUE
                           A number, or the name of one thing; repeatable
  --log-format FORMAT      text (default) or json
  --log-level LEVEL        debug, info (default), warn or error
  -h, --help
`

export interface UpSettings {
  readonly dataDirectory: string
  readonly runDirectory: string
  readonly hosts: readonly ListenOn[]
  readonly engineSocket: string
  readonly pluginDirectory: string
  readonly runtime: Runtime
  readonly advertise: string
  readonly metrics: ListenAddress | null
  readonly hostname: string
  readonly labels: Readonly<Record<string, string>>
  readonly genericResources: readonly GenericResource[]
  readonly logFormat: LogFormat
  readonly logLevel: LogLevel
}

const text = { type: 'string' } as const
const list = { type: 'string', multiple: true } as const

export function parseUpSettings(args: readonly string[]): UpSettings {
  const { values, positionals } = parseArguments(args, {
    'data-dir': text,
    'run-dir': text,
    host: { ...list, short: 'H' },
    tlscacert: text,
    tlscert: text,
    tlskey: text,
    group: text,
    engine: text,
    runtime: text,
    'plugin-dir': text,
    'advertise-addr': text,
    metrics: text,
    hostname: text,
    label: list,
    'generic-resource': list,
    'log-format': text,
    'log-level': text,
  })
  if (positionals.length > 0) {
    throw new UsageError(`does not know what to do with "${positionals[0]}"`)
  }
  const runDirectory = resolve(textOption(values, 'run-dir') || RUN_DIRECTORY_DEFAULT)
  const engine = textOption(values, 'engine') ?? ENGINE_DEFAULT
  if (!engine.startsWith('unix:///')) {
    throw new UsageError(`--engine wants unix://PATH, not "${engine}"`)
  }
  return {
    dataDirectory: resolve(textOption(values, 'data-dir') || DATA_DIRECTORY_DEFAULT),
    runDirectory,
    hosts: hosts(values, runDirectory),
    engineSocket: engine.slice('unix://'.length),
    pluginDirectory: resolve(textOption(values, 'plugin-dir') || PLUGIN_DIRECTORY_DEFAULT),
    runtime: oneOf('runtime', values, 'auto', RUNTIMES),
    advertise: textOption(values, 'advertise-addr') ?? '',
    metrics: metricsAddress(values),
    hostname: textOption(values, 'hostname') || systemHostname(),
    labels: Object.fromEntries(pairs(values, 'label')),
    genericResources: pairs(values, 'generic-resource').map(genericResource),
    logFormat: oneOf('log-format', values, 'text', LOG_FORMATS),
    logLevel: oneOf('log-level', values, 'info', LOG_LEVELS),
  }
}

function oneOf<T extends string>(
  name: string,
  values: Arguments['values'],
  otherwise: T,
  known: readonly T[],
): T {
  const value = textOption(values, name) ?? otherwise
  const found = known.find((candidate) => candidate === value)
  if (found !== undefined) return found
  const hint = didYouMean(value, known) || `; there are ${known.join(', ')}`
  throw new UsageError(`--${name} does not know "${value}"${hint}`)
}

function texts(values: Arguments['values'], name: string): string[] {
  const given = values[name]
  return Array.isArray(given) ? given.map(String) : []
}

function pairs(values: Arguments['values'], name: string): [string, string][] {
  return texts(values, name).map((pair) => {
    const at = pair.indexOf('=')
    if (at < 1) throw new UsageError(`--${name} wants NAME=VALUE, not "${pair}"`)
    return [pair.slice(0, at), pair.slice(at + 1)]
  })
}

function genericResource([Kind, value]: [string, string]): GenericResource {
  if (value === '') throw new UsageError(`--generic-resource ${Kind} wants a value`)
  return /^\d{1,15}$/.test(value)
    ? { DiscreteResourceSpec: { Kind, Value: Number(value) } }
    : { NamedResourceSpec: { Kind, Value: value } }
}

function metricsAddress(values: Arguments['values']): ListenAddress | null {
  const given = textOption(values, 'metrics')
  if (given === undefined) return null
  const address = parseListenAddress(given)
  if (address === null) throw new UsageError(`--metrics wants ADDRESS:PORT or PORT, not "${given}"`)
  return address
}

function hosts(values: Arguments['values'], runDirectory: string): ListenOn[] {
  const given = texts(values, 'host')
  const group = textOption(values, 'group')
  const gid = group === undefined ? {} : { gid: groupId(group) }
  const all = given.length > 0 ? given : [`unix://${join(runDirectory, 'weft.sock')}`]
  return all.map((address): ListenOn => {
    if (address.startsWith('unix:///')) {
      return { kind: 'unix', path: address.slice('unix://'.length), ...gid }
    }
    const target = address.startsWith('tcp://')
      ? splitAddress(address.slice('tcp://'.length))
      : null
    if (target === null) {
      throw new UsageError(`--host wants unix:///PATH or tcp://HOST:PORT, not "${address}"`)
    }
    return {
      kind: 'tls',
      host: target.host,
      port: target.port || TLS_PORT,
      ca: pem(values, 'tlscacert', address),
      cert: pem(values, 'tlscert', address),
      key: pem(values, 'tlskey', address),
    }
  })
}

/** The API gives root on the node, so that over TCP nobody is let in without a certificate. */
function pem(values: Arguments['values'], option: string, host: string): string {
  const file = textOption(values, option)
  if (file === undefined) {
    throw new UsageError(`--host ${host} needs --tlscacert, --tlscert and --tlskey`)
  }
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`--${option} ${file}: ${fileReason(error)}`)
  }
}

function groupId(name: string): number {
  if (/^\d{1,9}$/.test(name)) return Number(name)
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${name}:`))
  if (line === undefined) throw new UsageError(`--group: there is no group "${name}"`)
  return Number(line.split(':')[2])
}
