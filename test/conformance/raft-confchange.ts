// Runs etcd's membership change tests against ours:
//
//   node test/conformance/raft-confchange.ts FILE...
//
// Outputs (configuration, progress of each member, or the text of the error) must be equal line for
// line.

import {
  ConfChangeError,
  changeSimply,
  enterJoint,
  leaveJoint,
} from '../../controlplane/raft/confchange.ts'
import type { ConfState } from '../../controlplane/raft/messages.ts'
import { progressStatus } from '../../controlplane/raft/progress.ts'
import { Tracker } from '../../controlplane/raft/tracker.ts'
import { parseChanges } from './changes.ts'
import type { Directive } from './datadriven.ts'
import { describeConfig, describeProgress } from './describe.ts'
import { compareLines, type FileResult, mainWith, runFile, Unsupported } from './runner.ts'

const MAX_INFLIGHT = 10

export function runConfChangeFile(path: string): FileResult {
  const tracker = new Tracker(MAX_INFLIGHT, Number.POSITIVE_INFINITY)
  // The log is taken to grow by one entry per command, which shows as `next` of new members.
  let lastIndex = 0
  return runFile(path, (directive) => {
    const lines = execute(tracker, directive, lastIndex)
    lastIndex++
    return compareLines(directive.expected, lines)
  })
}

function execute(tracker: Tracker, directive: Directive, lastIndex: number): string[] {
  try {
    tracker.switchTo(changed(tracker.config, directive), Math.max(lastIndex, 1))
  } catch (error) {
    if (!(error instanceof ConfChangeError)) throw error
    return [error.message]
  }
  const members = tracker.members.map((progress) => describeProgress(progressStatus(progress)))
  return [describeConfig(tracker.config), ...members]
}

function changed(config: ConfState, { command, args, input }: Directive): ConfState {
  const changes = parseChanges(input)
  switch (command) {
    case 'simple':
      return changeSimply(config, changes)
    case 'enter-joint':
      return enterJoint(
        config,
        args.find(({ key }) => key === 'autoleave')?.values[0] === 'true',
        changes,
      )
    case 'leave-joint':
      return leaveJoint(config)
    default:
      throw new Unsupported(command)
  }
}

if (import.meta.main) mainWith(runConfChangeFile)
