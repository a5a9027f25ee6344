// Goal: our core does what etcd's test data says. Method: run every file of the data through the
// adapters, and prove on files with a known fault that the adapters can fail.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { runConfChangeFile } from './raft-confchange.ts'
import { runInteractionFile } from './raft-interaction.ts'
import { runQuorumFile } from './raft-quorum.ts'
import { type FileResult, testDataFiles } from './runner.ts'

const SUITES: readonly { kind: string; run: (path: string) => FileResult }[] = [
  { kind: 'quorum', run: runQuorumFile },
  { kind: 'confchange', run: runConfChangeFile },
  { kind: 'interaction', run: runInteractionFile },
]

for (const { kind, run } of SUITES) {
  const { files, missing } = testDataFiles(kind)
  t.test(kind, missing === null ? {} : { skip: missing }, async (t) => {
    for (const path of files) {
      const { directives, failures } = run(path)
      t.same(failures, [], `${basename(path)}: ${directives} directives`)
      t.ok(directives > 0, `${basename(path)} has directives`)
    }
  })
}

function failuresOf(t: Test, run: (path: string) => FileResult, text: string): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), 'weft-conformance-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'case.txt')
  writeFileSync(path, text)
  return run(path).failures
}

t.test('a wrong expectation is reported', async (t) => {
  const election = (term: number): string =>
    'add-nodes 1 voters=(1) index=2\n----\nINFO whatever\n\ncampaign 1\n----\n\n' +
    'stabilize log-level=none\n----\nok\n\n' +
    `raft-state\n----\n1: StateLeader (Voter) Term:${term} Lead:1\n`
  t.same(failuresOf(t, runInteractionFile, election(1)), [])
  t.match(failuresOf(t, runInteractionFile, election(2)), [/line 1 differs/])
  t.match(failuresOf(t, runQuorumFile, 'vote cfg=(1,2) votes=(y,_)\n----\nVoteWon\n'), [
    /actual: {3}VotePending/,
  ])
  t.match(failuresOf(t, runConfChangeFile, 'simple\nv1\n----\nvoters=(2)\n'), [/voters=\(1\)/])
})

t.test('what is not supported is listed, not skipped', async (t) => {
  t.match(failuresOf(t, runInteractionFile, 'reboot 1\n----\nok\n'), [/not supported: reboot/])
  t.match(failuresOf(t, runInteractionFile, 'add-nodes 1 colour=red\n----\nok\n'), [
    /not supported: add-nodes colour/,
  ])
  for (const [text, reason] of [
    ['add-nodes x', /not supported: the number x/],
    ['add-nodes 1 prevote=maybe', /not supported: the value maybe/],
    ['tick-heartbeat 1 times=3', /not supported: tick-heartbeat times=3/],
    ['deliver-msgs 1 type=MsgNone', /not supported: message type MsgNone/],
    ['campaign 1', /no member 1/],
  ] as const) {
    t.match(failuresOf(t, runInteractionFile, `${text}\n----\nok\n`), [reason], text)
  }
  t.match(failuresOf(t, runInteractionFile, 'campaign 1'), [/case.txt:1: no ---- follows/])
  t.match(runInteractionFile('/nowhere.txt').failures, [/ENOENT/])
  t.match(failuresOf(t, runQuorumFile, 'count cfg=(1)\n----\n1\n'), [/not supported: count/])
  t.match(failuresOf(t, runConfChangeFile, 'simple\nx1\n----\n\n'), [/not supported/])
})

const SNAPSHOT =
  'Snapshot: Index:12 Term:2 ConfState:Voters:[1 2 3] ' +
  'VotersOutgoing:[] Learners:[] LearnersNext:[] AutoLeave:false'

t.test('commands of the format that the data at hand does not use', async (t) => {
  const failures = failuresOf(
    t,
    runInteractionFile,
    `log-level none
----
ok

add-nodes 3 voters=(1,2,3) index=10 content=x inflight=3 prevote=true
campaign 1
stabilize
transfer-leadership from=1 to=2
stabilize
----
ok

log-level debug
----
ok

raft-state
----
1: StateFollower (Voter) Term:2 Lead:2
2: StateLeader (Voter) Term:2 Lead:2
3: StateFollower (Voter) Term:2 Lead:2

forget-leader 3
----
ok

raft-state
----
1: StateFollower (Voter) Term:2 Lead:2
2: StateLeader (Voter) Term:2 Lead:2
3: StateFollower (Voter) Term:2 Lead:0

set-randomized-election-timeout 3 timeout=2
----
ok

send-snapshot 2 3
----
2->3 MsgSnap Term:2 Log:0/0
  ${SNAPSHOT}

deliver-msgs 3 drop=(1)
----
2->3 MsgSnap Term:2 Log:0/0
  ${SNAPSHOT}

deliver-msgs 1
----
no messages

propose 3 lost
----
ok
`,
  )
  t.same(failures, [])
})
