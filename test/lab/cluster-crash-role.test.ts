// Goal: a node that is cut off at any step of a change of its role comes back as what it was or
// what it was becoming; a worker keeps nothing of a manager's. Method: as in cluster-crash.test.ts.

import './enter.ts'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { waitFor } from '../../cli/lab/wait.ts'
import { crashingPair, noLeftovers, type Pair, sweep } from './crash-sweep.ts'
import { labTest, type Test } from './lab-test.ts'

const WAIT_MS = 60_000

async function sweepRoles(t: Test, all: Pair): Promise<void> {
  const { lab, h1, h2 } = all
  const isManager = async (): Promise<boolean> => {
    const shown = (await h1.nodes()).get('h2')?.ManagerStatus?.Reachability
    return shown === 'reachable' && (await h2.nodes()).size === 2
  }
  const isWorker = async (): Promise<boolean> => {
    const { Status, ManagerStatus } = (await h1.nodes()).get('h2')!
    const { ControlAvailable, LocalNodeState } = (await h2.info()).Swarm
    const isOut = ManagerStatus === undefined && Status.State === 'ready'
    if (!isOut || ControlAvailable || LocalNodeState !== 'active') return false
    return !existsSync(join(h2.dataDirectory, 'swarm/raft'))
  }
  const become = async (Role: 'manager' | 'worker', what: string): Promise<void> => {
    await waitFor(() => h1.updateNode('h2', { Role }).then(() => true), { what })
    const isDone = Role === 'manager' ? isManager : isWorker
    await waitFor(isDone, { what, timeoutMs: WAIT_MS })
  }
  const promoting = await sweep({
    ...{ lab, node: h2, isThrough: isManager, stride: 3 },
    begin: () => h1.updateNode('h2', { Role: 'manager' }),
    recover: async (step) => {
      await become('manager', `h2 a manager, step ${step}`)
      await become('worker', `h2 a worker again, step ${step}`)
    },
  })
  t.ok(promoting >= 5, `a promotion has ${promoting} steps`)
  await become('manager', 'h2 a manager')
  const demoting = await sweep({
    ...{ lab, node: h2, isThrough: isWorker },
    begin: () => h1.updateNode('h2', { Role: 'worker' }),
    recover: async (step) => {
      await become('worker', `h2 a worker, step ${step}`)
      await become('manager', `h2 a manager again, step ${step}`)
    },
  })
  t.ok(demoting >= 3, `a demotion has ${demoting} steps`)
  noLeftovers(t, h2)
}

labTest('a node is cut off while its role changes', async (t, lab) => {
  await sweepRoles(t, await crashingPair(lab, 'Worker'))
})
