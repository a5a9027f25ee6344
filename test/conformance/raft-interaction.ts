// Runs etcd's interaction tests against our core:
//
//   node test/conformance/raft-interaction.ts FILE...
//
// Protocol grade: Readies, messages, status, logs and errors must be equal line for line; lines of etcd's
// own logging (DEBUG, INFO, ...) are ignored. Every difference and every directive that is not supported
// is printed; the exit code is 1 if there was any.

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { argv, exit, stdout } from 'node:process'
import { describeEntry, describeProgress, describeRole } from '../../controlplane/raft/describe.ts'
import type {
  ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  MessageType,
  NodeId,
} from '../../controlplane/raft/messages.ts'
import { EMPTY_CONF_STATE, NO_BYTES } from '../../controlplane/raft/messages.ts'
import type { ProposeResult } from '../../controlplane/raft/types.ts'
import { type Argument, type Directive, parseCommand, parseDirectives } from './datadriven.ts'
import {
  EnvironmentError,
  type MemberConfig,
  RaftEnvironment,
  refusalText,
} from './raft-environment.ts'

export interface FileResult {
  readonly directives: number
  /** One text per difference or unsupported directive. */
  readonly failures: readonly string[]
}

class Unsupported extends Error {}

type Handler = (env: RaftEnvironment, args: readonly Argument[], input: readonly string[]) => void

const LOG_LINE = /^\s*(DEBUG|INFO|WARN|ERROR|FATAL) /

const CHANGE_TYPES: Record<string, ConfChangeType> = {
  v: 'add-voter',
  l: 'add-learner',
  r: 'remove',
  u: 'update',
}

const TRANSITIONS: Record<string, ConfChangeTransition> = {
  auto: 'auto',
  implicit: 'joint-implicit',
  explicit: 'joint-explicit',
}

const HANDLERS: Record<string, Handler> = {
  'add-nodes': addNodes,
  campaign: (env, args) => env.member(firstId(args)).node.campaign(),
  compact: (env, args) => env.member(firstId(args)).storage.compact(Number(args[1]?.key)),
  'deliver-msgs': deliverMessages,
  'forget-leader': (env, args) => env.member(firstId(args)).node.forgetLeader(),
  'log-level': (env, args) => setLogLevel(env, args[0]?.key ?? ''),
  'process-ready': processReady,
  propose: (env, args) => {
    const text = (args[1]?.key ?? '').replace(/^"(.*)"$/, '$1')
    orThrow(env.member(firstId(args)).node.propose(new TextEncoder().encode(text)))
  },
  'propose-conf-change': proposeConfChange,
  'raft-log': raftLog,
  'raft-state': raftState,
  'report-unreachable': (env, args) => {
    env.member(firstId(args)).node.reportUnreachable(Number(args[1]?.key))
  },
  'send-snapshot': (env, args) => env.sendSnapshot(firstId(args), Number(args[1]?.key)),
  'set-randomized-election-timeout': (env, args) => {
    env.member(firstId(args)).node.setElectionTimeout(numberOf(args, 'timeout'))
  },
  stabilize,
  status: (env, args) => {
    for (const progress of env.member(firstId(args)).node.status().progress) {
      env.print(describeProgress(progress))
    }
  },
  'tick-election': (env, args) => {
    const { node, electionTicks } = env.member(firstId(args))
    for (let i = 0; i < electionTicks; i++) node.tick()
  },
  'tick-heartbeat': (env, args) => {
    const { node, heartbeatTicks } = env.member(firstId(args))
    for (let i = 0; i < heartbeatTicks; i++) node.tick()
  },
  'transfer-leadership': (env, args) => {
    env.member(numberOf(args, 'from')).node.transferLeader(numberOf(args, 'to'))
  },
}

/** Runs the directives of one file in one environment. */
export function runInteractionFile(path: string): FileResult {
  const directives = parseDirectives(basename(path), readFileSync(path, 'utf8'))
  const env = new RaftEnvironment()
  const failures: string[] = []
  for (const directive of directives) {
    const failure = runDirective(env, directive)
    if (failure !== null) failures.push(`${directive.place}: ${directive.command}: ${failure}`)
  }
  return { directives: directives.length, failures }
}

function runDirective(env: RaftEnvironment, directive: Directive): string | null {
  try {
    execute(env, directive)
  } catch (error) {
    env.takeOutput()
    if (error instanceof Unsupported) return `not supported: ${error.message}`
    return `threw: ${error instanceof Error ? error.stack : String(error)}`
  }
  const actual = protocolLines(env.takeOutput())
  const expected = protocolLines(directive.expected)
  const first = actual.findIndex((line, i) => line !== expected[i])
  if (first < 0 && actual.length === expected.length) return null
  const at = first < 0 ? actual.length : first
  return (
    `line ${at + 1} differs\n    expected: ${expected[at] ?? '<end>'}` +
    `\n    actual:   ${actual[at] ?? '<end>'}`
  )
}

function execute(env: RaftEnvironment, { command, args, input }: Directive): void {
  // The input lines are further commands, except for the one command that takes input.
  const commands = [{ command, args }]
  const own = command === 'propose-conf-change'
  if (!own) commands.push(...input.map(parseCommand).filter((line) => line.command !== ''))
  for (const each of commands) {
    const handler = HANDLERS[each.command]
    if (handler === undefined) throw new Unsupported(each.command)
    try {
      handler(env, each.args, own ? input : [])
    } catch (error) {
      if (!(error instanceof EnvironmentError)) throw error
      // Errors show even where all other output is off.
      const quiet = env.quiet
      env.quiet = false
      env.print(error.message)
      env.quiet = quiet
    }
  }
}

function protocolLines(lines: readonly string[]): string[] {
  const kept = lines.filter((line) => !LOG_LINE.test(line)).map((line) => line.trimEnd())
  return kept.length === 1 && kept[0] === 'ok' ? [] : kept
}

function addNodes(env: RaftEnvironment, args: readonly Argument[]): void {
  const config: { -readonly [K in keyof MemberConfig]: MemberConfig[K] } = {}
  let confState = EMPTY_CONF_STATE
  let index = 0
  let content = ''
  for (const { key, values } of args.slice(1)) {
    const value = values[0] ?? ''
    if (key === 'voters') confState = { ...confState, voters: values.map(Number) }
    else if (key === 'learners') confState = { ...confState, learners: values.map(Number) }
    else if (key === 'index') index = Number(value)
    else if (key === 'content') content = value
    else if (key === 'inflight') config.maxInflightMessages = Number(value)
    else if (key === 'prevote') config.preVote = value === 'true'
    else if (key === 'checkquorum') config.checkQuorum = value === 'true'
    else if (key === 'read-only') config.readOnly = value === 'lease-based' ? 'lease' : 'safe'
    else if (key === 'max-committed-size-per-ready')
      config.maxCommittedBytesPerReady = Number(value)
    else if (key === 'disable-conf-change-validation')
      config.disableConfChangeValidation = value === 'true'
    else if (key === 'step-down-on-removal') config.stepDownOnRemoval = value === 'true'
    else throw new Unsupported(`add-nodes ${key}`)
  }
  env.addNodes(firstId(args), config, confState, index, new TextEncoder().encode(content))
}

function deliverMessages(env: RaftEnvironment, args: readonly Argument[]): void {
  const type = (args.find(({ key }) => key === 'type')?.values[0] ?? null) as MessageType | null
  let count = 0
  for (const { key, values } of args) {
    if (key === 'drop') for (const id of values) count += env.deliver(Number(id), type, true)
    else if (values.length === 0) count += env.deliver(Number(key), type, false)
  }
  if (count === 0) env.print('no messages')
}

function processReady(env: RaftEnvironment, args: readonly Argument[]): void {
  const ids = idsOf(args)
  for (const id of ids) {
    if (ids.length === 1) env.processReady(id)
    else env.under(`> ${id} handling Ready`, () => env.processReady(id))
  }
}

function proposeConfChange(
  env: RaftEnvironment,
  args: readonly Argument[],
  input: readonly string[],
): void {
  const tokens = input
    .join(' ')
    .split(/\s+/)
    .filter((token) => token !== '')
  const changes = tokens.map((token): ConfChangeSingle => {
    const type = CHANGE_TYPES[token[0]!]
    if (type === undefined) throw new Unsupported(`membership change ${token}`)
    return { type, nodeId: Number(token.slice(1)) }
  })
  const { node } = env.member(firstId(args))
  const single = args.some(({ key, values }) => key === 'v1' && values[0] === 'true')
  const name = args.find(({ key }) => key === 'transition')?.values[0] ?? 'auto'
  const transition = TRANSITIONS[name]
  if (transition === undefined) throw new Unsupported(`transition ${name}`)
  const change = { transition, changes, context: NO_BYTES }
  orThrow(node.proposeConfChange(single ? changes[0]! : change))
}

function raftLog(env: RaftEnvironment, args: readonly Argument[]): void {
  const { storage } = env.member(firstId(args))
  const first = storage.firstIndex()
  const last = storage.lastIndex()
  const entries = storage.entries(first, last + 1, Number.POSITIVE_INFINITY)
  if (last < first) env.print(`log is empty: first index=${first}, last index=${last}`)
  else if (typeof entries === 'string') env.print(entries)
  else for (const entry of entries) env.print(describeEntry(entry))
}

function raftState(env: RaftEnvironment): void {
  for (const id of env.ids) {
    const { role, term, lead, config } = env.member(id).node.status()
    const voter = config.voters.includes(id) || config.votersOutgoing.includes(id)
    const kind = voter ? '(Voter)' : '(Non-Voter)'
    env.print(`${id}: ${describeRole(role)} ${kind} Term:${term} Lead:${lead}`)
  }
}

function stabilize(env: RaftEnvironment, args: readonly Argument[]): void {
  const ids = idsOf(args)
  const before = env.quiet
  const level = args.find(({ key }) => key === 'log-level')?.values[0]
  if (level !== undefined) setLogLevel(env, level)
  env.stabilize(ids.length > 0 ? ids : env.ids)
  env.quiet = before
}

function setLogLevel(env: RaftEnvironment, level: string): void {
  env.quiet = level.toLowerCase() === 'none'
}

function orThrow({ refusal }: ProposeResult): void {
  if (refusal !== null) throw new EnvironmentError(refusalText(refusal))
}

function firstId(args: readonly Argument[]): NodeId {
  return Number(args[0]?.key)
}

function idsOf(args: readonly Argument[]): NodeId[] {
  return args.filter(({ values }) => values.length === 0).map(({ key }) => Number(key))
}

function numberOf(args: readonly Argument[], name: string): number {
  return Number(args.find(({ key }) => key === name)?.values[0])
}

function main(paths: readonly string[]): number {
  let failed = 0
  for (const path of paths) {
    const { directives, failures } = runInteractionFile(path)
    failed += failures.length
    const verdict = failures.length === 0 ? 'ok' : `${failures.length} failed`
    stdout.write(`${basename(path)}: ${directives} directives, ${verdict}\n`)
    for (const failure of failures) stdout.write(`  ${failure}\n`)
  }
  return failed === 0 ? 0 : 1
}

if (import.meta.main) exit(main(argv.slice(2)))
