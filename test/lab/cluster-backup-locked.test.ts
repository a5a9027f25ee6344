// Goal: the backup of a manager that locks itself is taken back on another host, once it was
// unlocked there; without the key nothing is made of it. Method: real agents on hosts of a lab.

import './enter.ts'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

labTest('a backup of a locked manager is unlocked, then taken back', async (t, lab) => {
  const [h1, h2] = (await startNodes(lab, 2)) as [SwarmNode, SwarmNode]
  await foundSwarm([h1], 1)
  const locked = await h1.weft('swarm', 'update', '--autolock=true')
  t.match(locked, { status: 0 }, locked.stderr)
  const UnlockKey = /SWMKEY-\S+/.exec(locked.stdout)?.[0]
  const sealed = (): boolean =>
    readFileSync(join(h1.dataDirectory, 'swarm/certificates/swarm-node.key'), 'utf8').includes(
      'SEALED',
    )
  await waitFor(sealed, { what: 'the sealed key file' })
  const place = join(lab.folder, 'backup')
  const saved = await h1.weft('backup', place, '--run-dir', h1.runDirectory)
  t.match(saved, { status: 0 }, saved.stderr)
  await h1.crash()
  await h2.stop()
  const restored = await h2.weft('restore', place, '--data-dir', h2.dataDirectory)
  t.match(restored, { status: 0 }, restored.stderr)
  await h2.start()
  t.equal((await h2.info()).Swarm.LocalNodeState, 'locked')
  await t.rejects(h2.init({ ForceNewCluster: true }), /needs to be unlocked/)
  await h2.api.ask('POST', '/swarm/unlock', { UnlockKey })
  await h2.init({ ForceNewCluster: true })
  await h2.untilNodes('the swarm', (now) => now.size > 0)
  t.equal((await h2.swarm()).Spec.EncryptionConfig.AutoLockManagers, true)
})
