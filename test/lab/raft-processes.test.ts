// Goal: nothing that a client was told is done is ever lost, and nobody reads what is outdated,
// whatever happens to the members' processes. Method: real processes with the product's disk and
// transport, in namespaces, under clients, while they are killed, stopped, cut off and run out of
// disk; then the history is judged (raft-scene.ts).
//
// WEFT_RAFT_RESTARTS=500 node test/lab/raft-processes.test.ts    restarts more often
// WEFT_RAFT_SEED=N                                                    another order of faults

import './enter.ts'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type Prng, prng } from '../../base/prng.ts'
import type { MemberProcess } from '../../bench/raft/processes.ts'
import { labObstacle } from '../../cli/lab/enter.ts'
import { Lab } from '../../cli/lab/lab.ts'
import type { Test } from './lab-test.ts'
import { RaftScene, until } from './raft-scene.ts'

const RESTARTS = Number(process.env.WEFT_RAFT_RESTARTS ?? 12)
const SEED = Number(process.env.WEFT_RAFT_SEED ?? Math.floor(Math.random() * 2 ** 31))
const CLIENTS = 8
/** A restart takes about a second; a loaded machine may take ten times as long. */
const TIMEOUT_MS = 280_000 + Math.max(0, RESTARTS - 12) * 10_000

const obstacle = labObstacle()
t.setTimeout(2 * TIMEOUT_MS)

/** Faults, one after the other, until `restarts` members were killed and started again. */
async function torment(scene: RaftScene, random: Prng, restarts: number): Promise<string> {
  const counts = { killed: 0, killedTogether: 0, stopped: 0, cut: 0 }
  const pick = (): MemberProcess => scene.members[random.below(scene.members.length)]!
  while (counts.killed < restarts) {
    const victim = pick()
    const dice = random.below(20)
    if (dice < 12) {
      await victim.kill()
      await sleep(random.below(300))
      await scene.restart(victim)
      counts.killed++
    } else if (dice < 13) {
      // The power goes for all of them.
      await Promise.all(scene.members.map((member) => member.kill()))
      await Promise.all(scene.members.map((member) => scene.restart(member)))
      counts.killed += scene.members.length
      counts.killedTogether++
    } else if (dice < 16) {
      const leader = scene.members.find(({ leads }) => leads) ?? victim
      leader.signal('SIGSTOP')
      await sleep(200 + random.below(2_000))
      leader.signal('SIGCONT')
      counts.stopped++
    } else {
      const other = scene.members.find(({ leads }) => leads) ?? victim
      const target = random.below(2) === 0 ? victim : other
      await scene.cut(target, true)
      await sleep(300 + random.below(2_000))
      await scene.cut(target, false)
      counts.cut++
    }
    // Between faults there is time to get some work done.
    const before = scene.answered
    await until(() => scene.answered > before + 10)
  }
  const { answered, unknown, acknowledgedCount, operationCount } = scene
  const faults = Object.entries(counts).map(([name, count]) => `${name} ${count}`)
  return `seed ${SEED}: ${faults.join(', ')}; ${answered} calls answered, ${unknown} writes without
    an answer, ${acknowledgedCount} keys and ${operationCount} operations judged`.replace(
    /\s+/g,
    ' ',
  )
}

function scene(name: string, body: (t: Test, lab: Lab) => Promise<void>): void {
  if (obstacle !== undefined) {
    t.test(name, { skip: obstacle }, async () => {})
    return
  }
  t.test(name, { timeout: TIMEOUT_MS }, async (test) => {
    const lab = new Lab()
    test.teardown(() => lab.close())
    await body(test as unknown as Test, lab)
  })
}

for (const [count, share] of [
  [3, 0.6],
  [5, 0.4],
] as const) {
  scene(`${count} members are killed, stopped and cut off while clients write`, async (t, lab) => {
    const random = prng(SEED + count)
    const cluster = await RaftScene.start(lab, count, random.nextU32())
    try {
      cluster.write(CLIENTS)
      t.comment(await torment(cluster, random, Math.ceil(RESTARTS * share)))
      t.equal(await cluster.judge(), null, `seed ${SEED}`)
    } finally {
      await cluster.close()
    }
  })
}

scene(
  'a member whose disk is full ends, says so, and comes back when there is room',
  async (t, lab) => {
    const cluster = await RaftScene.start(lab, 3, SEED)
    try {
      const victim = cluster.members[2]!
      const directory = join(victim.folder, 'raft')
      // A small disk under a member that is down, with the state that it had.
      await victim.kill()
      const saved = join(cluster.folder, 'saved')
      execFileSync('cp', ['-a', directory, saved])
      rmSync(directory, { recursive: true })
      mkdirSync(directory)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=700', 'tmpfs', directory])
      execFileSync('cp', ['-a', `${saved}/.`, directory])
      await cluster.restart(victim)
      // Large enough to need new room: small ones go where old ones were.
      cluster.write(CLIENTS, 50_000)
      const filler = join(directory, 'filler')
      const fill = (): void => {
        try {
          for (;;) writeFileSync(filler, Buffer.alloc(65_536), { flag: 'a' })
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
        }
      }
      await until(() => {
        fill()
        return !victim.isRunning
      })
      t.equal(victim.ended?.code, 74)
      t.match(victim.stderr, /cannot write: database or disk is full/)
      const before = cluster.answered
      await until(() => cluster.answered > before + 100)
      rmSync(filler)
      await cluster.restart(victim)
      t.equal(await cluster.judge(), null)
    } finally {
      await cluster.close()
      execFileSync('umount', ['-l', join(cluster.members[2]!.folder, 'raft')])
    }
  },
)
