// Goal: a swarm whose managers are all lost is made anew from a backup, on another host and under
// another address, with everything that had been written before the backup. Method: real agents on
// hosts of a lab.

import './enter.ts'
import { join } from 'node:path'
import { foundSwarm, type ShownNode, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

labTest('a backup is taken back elsewhere', async (t, lab) => {
  const nodes = await startNodes(lab, 3)
  const [h1, h2, h3] = nodes as [SwarmNode, SwarmNode, SwarmNode]
  await foundSwarm([h1, h2], 1)
  await h1.updateNode('h2', { Labels: { kept: 'yes' } })
  const place = join(lab.folder, 'backup')
  const saved = await h1.weft('backup', place, '--run-dir', h1.runDirectory)
  t.match(saved, { status: 0 }, saved.stderr)
  t.match(await h1.weft('backup', place, '--run-dir', h1.runDirectory), {
    status: 1,
    stderr: /is there already/,
  })
  t.match(await h2.weft('backup', `${place}2`, '--run-dir', h2.runDirectory), {
    status: 1,
    stderr: /no manager/,
  })
  await h1.crash()

  const restore = ['restore', place, '--data-dir', h3.dataDirectory]
  t.match(await h3.weft(...restore), { status: 1, stderr: /is in use by process/ })
  await h3.stop()
  const restored = await h3.weft(...restore)
  t.match(restored, { status: 0 }, restored.stderr)
  await h3.start()
  const { LocalNodeState, Error: words } = (await h3.info()).Swarm
  t.equal(LocalNodeState, 'error')
  t.match(words, /start it with force-new-cluster/)
  await h3.init({ ForceNewCluster: true })
  const shown = await h3.untilNodes('the swarm', (now) => now.get('h2') !== undefined)
  t.equal(shown.get('h2')!.Spec.Labels.kept, 'yes')
  t.comment('the others join the new one')
  await h2.leave()
  await h2.join(h3, 'Worker')
  // Two nodes have that name now: the one of the backup, which is down, and the one that joined.
  const isReady = ({ Description, Status }: ShownNode): boolean =>
    Description.Hostname === 'h2' && Status.State === 'ready'
  const look = (): Promise<ShownNode[]> => h3.api.ask('GET', '/nodes')
  await waitFor(async () => (await look()).some(isReady), { what: 'h2 in it', timeoutMs: 30_000 })
})
