// Text for people: logs, the simulator's traces, and comparison with other implementations' traces.
// The format is the one of etcd's interaction tests.

import { decodeConfChange } from '../../controlplane/raft/codec.ts'
import type {
  ConfChangeType,
  ConfState,
  Entry,
  HardState,
  Message,
  NodeId,
  Role,
  Snapshot,
} from '../../controlplane/raft/messages.ts'
import type { ProgressStatus } from '../../controlplane/raft/progress.ts'
import type { Ready } from '../../controlplane/raft/types.ts'

const ROLE_NAMES: Record<Role, string> = {
  follower: 'StateFollower',
  'pre-candidate': 'StatePreCandidate',
  candidate: 'StateCandidate',
  leader: 'StateLeader',
}

const PROGRESS_NAMES: Record<ProgressStatus['state'], string> = {
  probe: 'StateProbe',
  replicate: 'StateReplicate',
  snapshot: 'StateSnapshot',
}

const CHANGE_LETTERS: Record<ConfChangeType, string> = {
  'add-voter': 'v',
  'add-learner': 'l',
  remove: 'r',
  update: 'u',
}

export function describeRole(role: Role): string {
  return ROLE_NAMES[role]
}

/** One line per part, `more` lines among the messages; `<empty Ready>` when there is nothing in
 * it. */
export function describeReady(ready: Ready, more: readonly string[] = []): string {
  const lines: string[] = []
  const { softState, hardState, snapshot } = ready
  if (softState !== null) {
    lines.push(`Lead:${softState.lead} State:${ROLE_NAMES[softState.role]}`)
  }
  if (hardState !== null) lines.push(`HardState ${describeHardState(hardState)}`)
  if (ready.readStates.length > 0) {
    lines.push(`ReadStates ${ready.readStates.map((state) => state.index).join(' ')}`)
  }
  if (ready.entries.length > 0) lines.push('Entries:', ...ready.entries.map(describeEntry))
  if (snapshot !== null) lines.push(`Snapshot ${describeSnapshot(snapshot)}`)
  if (ready.committedEntries.length > 0) {
    lines.push('CommittedEntries:', ...ready.committedEntries.map(describeEntry))
  }
  const messages = [...ready.messages, ...ready.messagesAfterAppend].map(describeMessage)
  if (messages.length + more.length > 0) lines.push('Messages:', ...messages, ...more)
  if (lines.length === 0) return '<empty Ready>'
  return `Ready MustSync=${ready.mustSync}:\n${lines.join('\n')}\n`
}

export function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === 0 ? '' : ` Vote:${vote}`} Commit:${commit}`
}

export function describeMessage(message: Message): string {
  const { from, to, type, term, logTerm, index, entries, snapshot } = message
  let text = `${from.toString(16)}->${to.toString(16)} ${type} Term:${term} Log:${logTerm}/${index}`
  if (message.reject) text += ` Rejected (Hint: ${message.rejectHint})`
  if (message.commit !== 0) text += ` Commit:${message.commit}`
  if (entries.length === 1) {
    text += ` Entries:[${describeEntry(entries[0]!)}]`
  } else if (entries.length > 1) {
    text += ` Entries:[${entries.map((entry) => `\n  ${describeEntry(entry)}`).join('')}\n]`
  }
  if (snapshot !== null) text += `\n  Snapshot: ${describeSnapshot(snapshot)}`
  return text
}

export function describeEntry(entry: Entry): string {
  return `${entry.term}/${entry.index} ${entry.type}${describeData(entry)}`
}

export function describeSnapshot({ index, term, confState }: Snapshot): string {
  const { voters, votersOutgoing, learners, learnersNext, autoLeave } = confState
  const list = (ids: readonly NodeId[]): string => `[${ids.join(' ')}]`
  return (
    `Index:${index} Term:${term} ConfState:Voters:${list(voters)} ` +
    `VotersOutgoing:${list(votersOutgoing)} Learners:${list(learners)} ` +
    `LearnersNext:${list(learnersNext)} AutoLeave:${autoLeave}`
  )
}

export function describeConfig(config: ConfState): string {
  const set = (ids: readonly NodeId[]): string => `(${ids.join(' ')})`
  let text = `voters=${set(config.voters)}`
  if (config.votersOutgoing.length > 0) text += `&&${set(config.votersOutgoing)}`
  if (config.learners.length > 0) text += ` learners=${set(config.learners)}`
  if (config.learnersNext.length > 0) text += ` learners_next=${set(config.learnersNext)}`
  return config.autoLeave ? `${text} autoleave` : text
}

export function describeProgress(progress: ProgressStatus): string {
  const { id, state, match, next } = progress
  let text = `${id}: ${PROGRESS_NAMES[state]} match=${match} next=${next}`
  if (progress.learner) text += ' learner'
  if (progress.paused) text += ' paused'
  if (progress.pendingSnapshot > 0) text += ` pendingSnap=${progress.pendingSnapshot}`
  if (!progress.recentActive) text += ' inactive'
  if (progress.inflightMessages > 0) text += ` inflight=${progress.inflightMessages}`
  return progress.inflightFull ? `${text}[full]` : text
}

function describeData(entry: Entry): string {
  if (entry.type === 'EntryNormal')
    return ` ${JSON.stringify(new TextDecoder().decode(entry.data))}`
  const change = decodeConfChange(entry)
  if (change === null) return ' <malformed>'
  const letters = change.changes.map(({ type, nodeId }) => `${CHANGE_LETTERS[type]}${nodeId}`)
  return letters.length === 0 ? '' : ` ${letters.join(' ')}`
}
