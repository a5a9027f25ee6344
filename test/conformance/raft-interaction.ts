// Runs etcd's interaction tests against our core:
//
//   node test/conformance/raft-interaction.ts FILE...
//
// Protocol grade: Readies, messages, status, logs and errors must be equal line for line; lines of
// etcd's own logging (DEBUG, INFO, ...) are ignored. Every difference and every directive that is
// not supported is printed; the exit code is 1 if there was any.

import type { ConfChangeTransition, NodeId } from '../../controlplane/raft/messages.ts'
import { EMPTY_CONF_STATE, MESSAGE_KINDS, NO_BYTES } from '../../controlplane/raft/messages.ts'
import type { ProposeResult } from '../../controlplane/raft/types.ts'
import { parseChanges } from './changes.ts'
import { type Argument, type Directive, parseCommand } from './datadriven.ts'
import { describeEntry, describeProgress, describeRole } from './describe.ts'
import {
  EnvironmentError,
  type MemberConfig,
  RaftEnvironment,
  refusalText,
} from './raft-environment.ts'
import { compareLines, type FileResult, mainWith, runFile, Unsupported } from './runner.ts'

type Handler = (env: RaftEnvironment, args: readonly Argument[], input: readonly string[]) => void

const LOG_LINE = /^\s*(DEBUG|INFO|WARN|ERROR|FATAL) /

const TRANSITIONS: Record<string, ConfChangeTransition> = {
  auto: 'auto',
  implicit: 'joint-implicit',
  explicit: 'joint-explicit',
}

const HANDLERS: Record<string, Handler> = {
  'add-nodes': addNodes,
  _breakpoint: () => {},
  campaign: (env, args) => env.member(firstId(args)).node.campaign(),
  compact: (env, args) => env.member(firstId(args)).storage.compact(integer(args[1]?.key)),
  'deliver-msgs': deliverMessages,
  'forget-leader': (env, args) => env.member(firstId(args)).node.forgetLeader(),
  'log-level': (env, args) => setLogLevel(env, args[0]?.key ?? ''),
  'process-append-thread': (env, args) => {
    overIds(env, args, 'processing append thread', (id) => env.processThread(id, 'append'))
  },
  'process-apply-thread': (env, args) => {
    overIds(env, args, 'processing apply thread', (id) => env.processThread(id, 'apply'))
  },
  'process-ready': (env, args) => {
    overIds(env, args, 'handling Ready', (id) => env.processReady(id))
  },
  propose: (env, args) => {
    const text = (args[1]?.key ?? '').replace(/^"(.*)"$/, '$1')
    orThrow(env.member(firstId(args)).node.propose(new TextEncoder().encode(text)))
  },
  'propose-conf-change': proposeConfChange,
  'raft-log': raftLog,
  'raft-state': raftState,
  'report-unreachable': (env, args) => {
    env.member(firstId(args)).node.reportUnreachable(integer(args[1]?.key))
  },
  'send-snapshot': (env, args) => env.sendSnapshot(firstId(args), integer(args[1]?.key)),
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

/** The named arguments that a command takes; the others take none. */
const NAMED: Record<string, readonly string[]> = {
  'add-nodes': [
    'voters',
    'learners',
    'index',
    'content',
    'inflight',
    'prevote',
    'checkquorum',
    'read-only',
    'max-committed-size-per-ready',
    'disable-conf-change-validation',
    'async-storage-writes',
    'step-down-on-removal',
  ],
  'deliver-msgs': ['drop', 'type'],
  'propose-conf-change': ['v1', 'transition'],
  'set-randomized-election-timeout': ['timeout'],
  stabilize: ['log-level'],
  'transfer-leadership': ['from', 'to'],
}

const READ_ONLY: Record<string, 'safe' | 'lease'> = { safe: 'safe', 'lease-based': 'lease' }

/** Runs the directives of one file in one environment. */
export function runInteractionFile(path: string): FileResult {
  const env = new RaftEnvironment()
  return runFile(path, (directive) => {
    env.takeOutput()
    execute(env, directive)
    return compareLines(protocolLines(directive.expected), protocolLines(env.takeOutput()))
  })
}

function execute(env: RaftEnvironment, { command, args, input }: Directive): void {
  // The input lines are further commands, except for the one command that takes input.
  const commands = [{ command, args }]
  const own = command === 'propose-conf-change'
  if (!own) commands.push(...input.map(parseCommand).filter((line) => line.command !== ''))
  for (const each of commands) {
    const handler = HANDLERS[each.command]
    if (handler === undefined) throw new Unsupported(each.command)
    const named = NAMED[each.command] ?? []
    for (const { key, values } of each.args) {
      if (values.length > 0 && !named.includes(key)) {
        throw new Unsupported(`${each.command} ${key}=${values}`)
      }
    }
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
    if (key === 'voters') confState = { ...confState, voters: values.map(integer) }
    else if (key === 'learners') confState = { ...confState, learners: values.map(integer) }
    else if (key === 'index') index = integer(value)
    else if (key === 'content') content = value
    else if (key === 'inflight') config.maxInflightMessages = integer(value)
    else if (key === 'prevote') config.preVote = yes(value)
    else if (key === 'checkquorum') config.checkQuorum = yes(value)
    else if (key === 'read-only') config.readOnly = known(READ_ONLY, value)
    else if (key === 'max-committed-size-per-ready')
      config.maxCommittedBytesPerReady = integer(value)
    else if (key === 'disable-conf-change-validation')
      config.disableConfChangeValidation = yes(value)
    else if (key === 'async-storage-writes') config.pipelinedWrites = yes(value)
    else if (key === 'step-down-on-removal') config.stepDownOnRemoval = yes(value)
    else throw new Unsupported(`add-nodes ${key}`)
  }
  env.addNodes(firstId(args), config, confState, index, new TextEncoder().encode(content))
}

function deliverMessages(env: RaftEnvironment, args: readonly Argument[]): void {
  const type = args.find(({ key }) => key === 'type')?.values[0] ?? null
  if (type !== null && !(type in MESSAGE_KINDS) && !type.startsWith('MsgStorage')) {
    throw new Unsupported(`message type ${type}`)
  }
  let count = 0
  for (const { key, values } of args) {
    if (key === 'drop') for (const id of values) count += env.deliver(integer(id), type, true)
    else if (values.length === 0) count += env.deliver(integer(key), type, false)
  }
  if (count === 0) env.print('no messages')
}

/** Several members' outputs are told apart by titles. */
function overIds(
  env: RaftEnvironment,
  args: readonly Argument[],
  title: string,
  work: (id: NodeId) => void,
): void {
  const ids = idsOf(args)
  for (const id of ids) {
    if (ids.length === 1) work(id)
    else env.under(`> ${id} ${title}`, () => work(id))
  }
}

function proposeConfChange(
  env: RaftEnvironment,
  args: readonly Argument[],
  input: readonly string[],
): void {
  const changes = parseChanges(input)
  const { node } = env.member(firstId(args))
  const single = args.some(({ key, values }) => key === 'v1' && values[0] === 'true')
  const name = args.find(({ key }) => key === 'transition')?.values[0] ?? 'auto'
  const transition = known(TRANSITIONS, name)
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
  return integer(args[0]?.key)
}

function idsOf(args: readonly Argument[]): NodeId[] {
  return args.filter(({ values }) => values.length === 0).map(({ key }) => integer(key))
}

function numberOf(args: readonly Argument[], name: string): number {
  return integer(args.find(({ key }) => key === name)?.values[0])
}

function integer(text: string | undefined): number {
  if (text === undefined || !/^\d+$/.test(text)) throw new Unsupported(`the number ${text}`)
  return Number(text)
}

function yes(text: string): boolean {
  return known({ true: true, false: false }, text)
}

function known<T>(values: Readonly<Record<string, T>>, text: string): T {
  const value = Object.hasOwn(values, text) ? values[text] : undefined
  if (value === undefined) throw new Unsupported(`the value ${text}`)
  return value
}

if (import.meta.main) mainWith(runInteractionFile)
