// Goal: a node that is cut off at any step of a certificate's renewal, a change of the root or of
// the unlock key, or of leaving comes back as what it was or what it was becoming. No file is half
// of anything, and nothing acknowledged is lost.
// Method: real agents on two hosts of a lab; one kills itself before each of the steps by which
// files get their names or lose them, in turn (crash-sweep.ts). Changes that are the log's alone
// (tokens) are cut off by time.

import './enter.ts'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { crashingPair, noLeftovers, type Pair, ready, sweep } from './crash-sweep.ts'
import { killed } from './killed.ts'
import { labTest, type Test } from './lab-test.ts'

const WAIT_MS = 60_000

/** Changes the swarm's spec, as often as it takes. */
async function update(
  by: SwarmNode,
  change: (spec: { CAConfig: { ForceRotate?: number } }) => void,
  query = '',
): Promise<void> {
  const { Version, Spec } = await by.swarm()
  change(Spec)
  await by.api.ask('POST', `/swarm/update?version=${Version.Index}${query}`, Spec)
}

const certificates = ({ dataDirectory }: SwarmNode): string =>
  join(dataDirectory, 'swarm/certificates')

async function sweepRoot(t: Test, all: Pair): Promise<void> {
  const { lab, h1, h2 } = all
  const rootOf = (): string => readFileSync(join(certificates(h2), 'swarm-root-ca.crt'), 'utf8')
  let before = ''
  const isThrough = async (): Promise<boolean> => {
    const { RootRotationInProgress, TLSInfo } = await h1.swarm()
    return !RootRotationInProgress && TLSInfo.TrustRoot !== before && rootOf() === TLSInfo.TrustRoot
  }
  const steps = await sweep({
    ...{ lab, node: h2, isThrough, stride: 2 },
    begin: async () => {
      before = (await h1.swarm()).TLSInfo.TrustRoot
      await update(h1, ({ CAConfig }) => {
        CAConfig.ForceRotate = (CAConfig.ForceRotate ?? 0) + 1
      })
    },
    recover: async (step) => {
      await waitFor(isThrough, { what: `the new root, step ${step}`, timeoutMs: WAIT_MS })
      await ready(all)
    },
  })
  t.ok(steps >= 5, `a change of the root has ${steps} steps`)
  noLeftovers(t, h2)
}

async function sweepLeaving(t: Test, all: Pair): Promise<void> {
  const { lab, h1, h2 } = all
  const isThrough = async (): Promise<boolean> =>
    (await h2.info()).Swarm.LocalNodeState === 'inactive'
  const steps = await sweep({
    ...{ lab, node: h2, isThrough },
    begin: () => h2.leave(),
    recover: async (step) => {
      const { LocalNodeState: state, Error: words } = (await h2.info()).Swarm
      t.ok(['active', 'inactive'].includes(state), `step ${step}: ${state} ${words}`)
      if (state !== 'inactive') await h2.leave(true)
      t.notOk(existsSync(join(h2.dataDirectory, 'swarm/state.json')))
      const left = (await h1.nodes()).get('h2')!.ID
      await h1.api.ask('DELETE', `/nodes/${left}?force=true`)
      await h2.join(h1, 'Worker')
      await ready(all)
    },
  })
  t.ok(steps >= 5, `leaving has ${steps} steps`)
}

async function sweepUnlockKey(t: Test, all: Pair): Promise<void> {
  const { lab, h1, h2 } = all
  const keyOf = async (): Promise<string> =>
    (await h1.api.ask<{ UnlockKey: string }>('GET', '/swarm/unlockkey')).UnlockKey
  const file = join(certificates(h2), 'swarm-node.key')
  const version = (): number =>
    Number(/kek-version: (\d+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? 0)
  await update(h1, (spec) => Object.assign(spec, { EncryptionConfig: { AutoLockManagers: true } }))
  await waitFor(() => version() > 0, { what: 'the sealed key file' })
  let old = ''
  let before = 0
  const steps = await sweep({
    ...{ lab, node: h2, isThrough: async () => version() > before },
    begin: async () => {
      old = await keyOf()
      before = version()
      await update(h1, () => {}, '&rotateManagerUnlockKey=true')
    },
    recover: async (step) => {
      if ((await h2.info()).Swarm.LocalNodeState === 'locked') {
        await waitFor(
          async () => {
            const UnlockKey = version() > before ? await keyOf() : old
            return (await h2.api.call('POST', '/swarm/unlock', { UnlockKey })).status === 200
          },
          { what: `h2 to be unlocked, step ${step}`, timeoutMs: WAIT_MS },
        )
      }
      await waitFor(() => version() > before, { what: `the new key, step ${step}` })
      t.not(await keyOf(), old, `step ${step}: what was acknowledged is there`)
      await ready(all)
    },
  })
  t.ok(steps >= 1, `a change of the unlock key has ${steps} steps`)
}

labTest(
  'a worker is cut off while its certificate changes, and while it leaves',
  async (t, lab) => {
    const all = await crashingPair(lab, 'Worker')
    await sweepRoot(t, all)
    await sweepLeaving(t, all)
  },
)

labTest('managers are cut off while keys and tokens change', async (t, lab) => {
  const all = await crashingPair(lab, 'Manager')
  await sweepUnlockKey(t, all)
  await all.h2.leave(true)

  t.comment('tokens: what was acknowledged is there, and what is there works')
  const h1 = new SwarmNode(lab, all.h2.host)
  await all.h2.stop()
  await h1.start()
  await h1.init()
  for (const delayMs of [0, 2, 5, 20]) {
    const old = (await h1.swarm()).JoinTokens.Worker
    const outcome = await killed(h1, delayMs, () => update(h1, () => {}, '&rotateWorkerToken=true'))
    const now = await waitFor(async () => (await h1.swarm()).JoinTokens.Worker as string, {
      what: 'the token',
      timeoutMs: WAIT_MS,
    })
    t.match(now, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/)
    if (outcome === 'done') t.not(now, old, `after ${delayMs} ms: the change was acknowledged`)
  }
})
