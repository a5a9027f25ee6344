// Goal: a swarm whose nodes are stopped and started again is the one that it was; managers that
// lock themselves have to be unlocked then. Method: real agents on hosts of a lab.

import './enter.ts'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

labTest('every node is stopped in order and started again', async (t, lab) => {
  const nodes = await startNodes(lab, 3)
  await foundSwarm(nodes, 2)
  const before = await nodes[0]!.nodes()
  t.same(await Promise.all(nodes.map((node) => node.stop())), [0, 0, 0])
  await Promise.all(nodes.map((node) => node.start()))
  const after = await nodes[1]!.untilNodes('all ready', (shown) => {
    return [...shown.values()].every(({ Status }) => Status.State === 'ready')
  })
  t.same([...after.keys()].sort(), [...before.keys()].sort())
  const second = nodes[0]!.host.spawn([...nodes[0]!.process!.argv.slice(3)])
  t.equal(await second.ended, 1, 'a second agent on the same directories is refused')
  t.match(second.stderr, /is in use by process \d+/)
})

labTest('managers that lock themselves', async (t, lab) => {
  const nodes = await startNodes(lab, 2)
  const [h1, h2] = nodes as [SwarmNode, SwarmNode]
  await foundSwarm(nodes, 2)
  const { status, stdout } = await h2.weft('swarm', 'update', '--autolock')
  t.equal(status, 0)
  const key = /SWMKEY-1-\S+/.exec(stdout)![0]
  await waitFor(async () => (await h1.weft('swarm', 'unlock-key', '-q')).stdout.trim() === key, {
    what: 'the key on the other manager',
  })
  await h2.stop()
  await h2.start()
  t.equal((await h2.info()).Swarm.LocalNodeState, 'locked')
  await t.rejects(h2.nodes(), /Swarm is encrypted and needs to be unlocked/)
  const wrong = `SWMKEY-1-${'A'.repeat(43)}`
  t.match(await h2.api.call('POST', '/swarm/unlock', { UnlockKey: wrong }), {
    status: 401,
    text: /could not be unlocked: invalid key provided/,
  })
  await h2.api.ask('POST', '/swarm/unlock', { UnlockKey: key })
  await h2.untilNodes('h2 back', (shown) => shown.get('h2')?.Status.State === 'ready')
  const rotated = (await h1.weft('swarm', 'unlock-key', '--rotate', '-q')).stdout.trim()
  t.not(rotated, key)
  await h2.untilNodes('the change', () => true)
  await h2.crash()
  await h2.start()
  await t.rejects(h2.api.ask('POST', '/swarm/unlock', { UnlockKey: key }), /invalid key/)
  await h2.api.ask('POST', '/swarm/unlock', { UnlockKey: rotated })
  await h2.untilNodes('h2 back again', (shown) => shown.get('h2')?.Status.State === 'ready')
})
