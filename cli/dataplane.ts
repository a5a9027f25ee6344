// `weft dataplane`: one node's data plane from a tables file.

import process from 'node:process'
import type { Logger, LogLevel } from '../base/log.ts'
import { repairMeshHost } from '../dataplane/edge/mesh-host.ts'
import { didYouMean } from '../dataplane/suggest.ts'
import { problemText } from '../dataplane/validate.ts'
import { Agent, type AgentOptions } from './agent.ts'
import { createEngine, SCHEDULERS } from './compose.ts'
import { EXIT_FAILURE, EXIT_OK, EXIT_RESTART, EXIT_USAGE, UsageError } from './exit.ts'
import { CAPTURES_MAX } from './limits.ts'
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, stderrLogger } from './log-lines.ts'
import { parseListenAddress } from './metrics-server.ts'
import { RUN_DIRECTORY_DEFAULT } from './run-directory.ts'
import { loadTables, TablesError } from './tables-file.ts'
import { type Arguments, parseArguments, textOption } from './verb.ts'
import { weftVersion } from './version.ts'

export const usage: string = `usage: weft dataplane --config FILE [OPTIONS]

Runs this node's data plane as FILE (forwarding tables, JSON) describes it. A
changed FILE, or SIGHUP, swaps the tables whole; open flows go on. SIGINT and
SIGTERM stop it and undo what it made on the host. SIGUSR2 stops it with status
${EXIT_RESTART} and holds the published ports for a start that follows at once.

  --config FILE          The tables
  --check                Only say whether FILE is good: status 0 or 2
  --metrics ADDR:PORT    Serve Prometheus metrics there; PORT alone = loopback
  --pcap PORT=FILE       Capture a local port (its endpoint's name), or
                         "underlay", to FILE; repeatable
  --run-dir DIR          Control socket, journal of the changes to the host and
                         what a restart needs (default ${RUN_DIRECTORY_DEFAULT})
  --log-format FORMAT    text (default) or json
  --log-level LEVEL      debug, info (default), warn or error
  -h, --help
`

function parseCaptures(given: Arguments['values'][string]): Map<string, string> {
  const captures = new Map<string, string>()
  for (const text of Array.isArray(given) ? given : []) {
    const match = /^([^=]+)=(.+)$/s.exec(String(text))
    if (match === null) throw new UsageError(`--pcap wants PORT=FILE, not "${text}"`)
    const [, port, file] = match as unknown as [string, string, string]
    if (captures.has(port)) throw new UsageError(`--pcap names port "${port}" twice`)
    captures.set(port, file)
  }
  if (captures.size > CAPTURES_MAX) throw new UsageError(`--pcap at most ${CAPTURES_MAX} times`)
  return captures
}

function oneOf<T extends string>(name: string, value: string, known: readonly T[]): T {
  const found = known.find((candidate) => candidate === value)
  if (found !== undefined) return found
  const hint = didYouMean(value, known) || `; there are ${known.join(', ')}`
  throw new UsageError(`--${name} does not know "${value}"${hint}`)
}

interface Settings extends AgentOptions {
  readonly isCheckOnly: boolean
  readonly logFormat: LogFormat
  readonly logLevel: LogLevel
}

function parseSettings(args: readonly string[]): Settings {
  const { values, positionals } = parseArguments(args, {
    config: { type: 'string' },
    check: { type: 'boolean' },
    metrics: { type: 'string' },
    pcap: { type: 'string', multiple: true },
    'run-dir': { type: 'string' },
    'log-format': { type: 'string' },
    'log-level': { type: 'string' },
  })
  if (positionals.length > 0)
    throw new UsageError(`does not know what to do with "${positionals[0]}"`)
  const configFile = textOption(values, 'config')
  if (configFile === undefined || configFile === '')
    throw new UsageError('--config FILE is missing')
  const metricsText = textOption(values, 'metrics')
  const metrics = metricsText === undefined ? null : parseListenAddress(metricsText)
  if (metricsText !== undefined && metrics === null) {
    throw new UsageError(`--metrics wants ADDRESS:PORT or PORT, not "${metricsText}"`)
  }
  return {
    configFile,
    metrics,
    captures: parseCaptures(values.pcap),
    runDirectory: textOption(values, 'run-dir') || RUN_DIRECTORY_DEFAULT,
    isCheckOnly: values.check === true,
    logFormat: oneOf('log-format', textOption(values, 'log-format') ?? 'text', LOG_FORMATS),
    logLevel: oneOf('log-level', textOption(values, 'log-level') ?? 'info', LOG_LEVELS),
  }
}

function complain(sentence: string): void {
  process.stderr.write(`weft: ${sentence}\n`)
}

function checkOnly(file: string): number {
  try {
    loadTables(file, SCHEDULERS)
    return EXIT_OK
  } catch (error) {
    if (!(error instanceof TablesError)) throw error
    for (const problem of error.problems) complain(`${file}: ${problemText(problem)}`)
    return EXIT_USAGE
  }
}

/** Nobody serves what the agent before this one held, where this one could not begin. */
async function giveUpHeld({ runDirectory }: Settings, log: Logger): Promise<void> {
  try {
    await repairMeshHost(runDirectory)
  } catch (error) {
    // Also where another agent is at work: then the ports are his.
    log.debug('nothing was repaired', { error: (error as Error).message })
  }
}

export async function run(args: readonly string[]): Promise<number> {
  const settings = parseSettings(args)
  if (settings.isCheckOnly) return checkOnly(settings.configFile)
  const log = stderrLogger(settings.logFormat, settings.logLevel)
  const agent = new Agent(settings, {
    engine: createEngine(),
    schedulers: SCHEDULERS,
    log,
    version: weftVersion(),
    signals: process,
    complain,
    abort: (status) => process.exit(status),
  })
  process.on('uncaughtException', (error) => agent.fail(error))
  let status = EXIT_FAILURE
  try {
    status = await agent.run()
  } finally {
    if (status === EXIT_FAILURE || status === EXIT_USAGE) await giveUpHeld(settings, log)
  }
  // A worker that did not end must not hold the process.
  process.exit(status)
}
