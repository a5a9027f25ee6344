// Goal: nobody gets in with a token that is not the right one, and the root of all trust can be
// changed under a swarm that runs. Method: real agents on hosts of a lab.

import './enter.ts'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { labTest } from './lab-test.ts'

labTest('tokens that are not the right ones, and a root that changes', async (t, lab) => {
  const nodes = await startNodes(lab, 3)
  const [h1, , h3] = nodes as [SwarmNode, SwarmNode, SwarmNode]
  await foundSwarm(nodes.slice(0, 2), 1)
  const { JoinTokens } = await h1.swarm()
  const token: string = JoinTokens.Worker
  const join = (JoinToken: string): Promise<unknown> =>
    h3.api.ask('POST', '/swarm/join', {
      ListenAddr: '0.0.0.0:2377',
      RemoteAddrs: [`${h1.host.address}:2377`],
      JoinToken,
    })
  const [, , digest, secret] = token.split('-') as [string, string, string, string]
  const other = (text: string): string => `${text.startsWith('1') ? '2' : '1'}${text.slice(1)}`
  await t.rejects(join(token.slice(0, -1)), /invalid join token/)
  await t.rejects(join(`SWMTKN-1-${other(digest)}-${secret}`), /./)
  await t.rejects(join(`SWMTKN-1-${digest}-${other(secret)}`), /A valid join token is necessary/)
  const { stdout } = await h1.weft('swarm', 'join-token', '-q', '--rotate', 'worker')
  t.not(stdout.trim(), token)
  await t.rejects(join(token), /A valid join token is necessary/)
  t.equal((await h3.info()).Swarm.LocalNodeState, 'inactive')

  t.comment('the root changes under a swarm that runs')
  const before = (await h1.weft('swarm', 'ca')).stdout
  const rotation = await h1.weft('swarm', 'ca', '--rotate')
  t.match(rotation, { status: 0, stderr: /rotated CA certificates: 2\/2 nodes/ })
  t.not(rotation.stdout, before)
  await t.rejects(join(stdout.trim()), /./, 'tokens name the root')
  await join((await h1.swarm()).JoinTokens.Worker)
  await h1.untilNodes('h3 ready', (shown) => shown.get('h3')?.Status.State === 'ready')
})
