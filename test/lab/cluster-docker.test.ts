// Goal: the docker CLI drives a swarm of three managers and two workers through everything that
// `docker swarm` and `docker node` have, and is told in Docker's words what is refused; with most
// managers gone a manager says so in time and changes nothing. Method: real agents on hosts of a
// lab, the stock CLI against their sockets.

import './enter.ts'
import { readFileSync } from 'node:fs'
import { dockerPath, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

/** A request waits three seconds for a leader; a busy machine adds its own. */
const NO_LEADER_MS = 20_000
const DAEMON = 'Error response from daemon: '
const NO_LEADER =
  `${DAEMON}rpc error: code = Unknown desc = The swarm does not have a leader. It's possible ` +
  'that too few managers are online. Make sure more than half of the managers are online.'
const LOCKED =
  `${DAEMON}Swarm is encrypted and needs to be unlocked before it can be used. Please use ` +
  '"docker swarm unlock" to unlock it.'

/** What the CLI says on standard error of a command that fails. */
async function refusal(node: SwarmNode, ...args: string[]): Promise<string> {
  const { status, stderr, stdout } = await node.docker(...args)
  return status === 0 ? `it succeeded: ${stdout}` : stderr.trim()
}

async function unlock(node: SwarmNode, key: string): Promise<{ status: number; stderr: string }> {
  const argv = [dockerPath()!, '-H', `unix://${node.socket}`, 'swarm', 'unlock']
  return node.host.exec(argv, { input: `${key}\n` })
}

async function token(node: SwarmNode, role: string, ...more: string[]): Promise<string> {
  return node.mustDocker('swarm', 'join-token', '-q', ...more, role)
}

async function join(node: SwarmNode, to: SwarmNode, secret: string): Promise<string> {
  return node.mustDocker('swarm', 'join', '--token', secret, `${to.host.address}:2377`)
}

function untilRoles(by: SwarmNode, managers: number, all: number): Promise<unknown> {
  return by.untilNodes(
    `${managers} managers of ${all} nodes`,
    (shown) => {
      const list = [...shown.values()]
      const reachable = list.filter((one) => one.ManagerStatus?.Reachability === 'reachable')
      const ready = list.filter(({ Status }) => Status.State === 'ready')
      return list.length === all && ready.length === all && reachable.length === managers
    },
    60_000,
  )
}

/** Nodes with which this one has tunnels: the peers of its last tables. */
function peersOf({ dataDirectory }: SwarmNode): string[] {
  const file = `${dataDirectory}/swarm/worker/cluster.json`
  const { items } = JSON.parse(readFileSync(file, 'utf8'))
  return items.peer.map(([id]: [string]) => id)
}

async function founded(t: Test, nodes: readonly SwarmNode[]): Promise<void> {
  const [h1, h2, h3, h4, h5] = nodes as [SwarmNode, SwarmNode, SwarmNode, SwarmNode, SwarmNode]
  t.match(await refusal(h1, 'node', 'ls'), /^Error response from daemon: This node is not a swarm/)
  const url = 'https://ca.example/sign'
  const bad = ['swarm', 'init', '--external-ca', 'protocol=cfssl,url=http://ca.example']
  t.match(await refusal(h1, ...bad), /invalid external CA URL: it must be https$/)
  const said = await h1.mustDocker('swarm', 'init', '--external-ca', `protocol=cfssl,url=${url}`)
  t.match(said, /^Swarm initialized: current node \([0-9a-z]{25}\) is now a manager\./)
  t.match(said, new RegExp(`docker swarm join --token SWMTKN-1-\\S+ ${h1.host.address}:2377`))
  t.match(await h1.mustDocker('info'), new RegExp(`cfssl: ${url}`))
  const { CreatedAt, UpdatedAt } = await h1.swarm()
  t.equal(UpdatedAt, CreatedAt, 'what init wrote nothing has written over')

  const old = await token(h1, 'worker')
  t.match(await join(h4, h1, old), /^This node joined a swarm as a worker\.$/)
  const rotated = await token(h1, 'worker', '--rotate')
  t.not(rotated, old)
  t.match(
    await refusal(h5, 'swarm', 'join', '--token', old, `${h1.host.address}:2377`),
    /A valid join token is necessary to join this cluster$/,
  )
  t.match(await refusal(h5, 'swarm', 'leave'), /This node is not part of a swarm$/)
  for (const node of [h2, h3]) {
    t.match(await join(node, h1, await token(h1, 'manager')), /joined a swarm as a manager/)
  }
  await join(h5, h1, rotated)
  t.equal(await token(h3, 'worker'), rotated, 'every manager tells the same')
  await untilRoles(h2, 3, 5)
}

async function nodeCommands(t: Test, nodes: readonly SwarmNode[]): Promise<void> {
  const [h1, h2, h3, h4, h5] = nodes as [SwarmNode, SwarmNode, SwarmNode, SwarmNode, SwarmNode]
  t.match(await refusal(h4, 'node', 'ls'), /Worker nodes can't be used to view or modify cluster/)
  t.match(await refusal(h1, 'swarm', 'init'), /This node is already part of a swarm\. Use "docker/)
  await h2.mustDocker('node', 'update', '--label-add', 'disk=fast', '--availability', 'drain', 'h5')
  t.match(await h3.mustDocker('node', 'inspect', '--pretty', 'h5'), /disk=fast[\s\S]*Drain/)
  await h3.mustDocker('node', 'update', '--label-rm', 'disk', '--availability', 'active', 'h5')
  t.notMatch(await h2.mustDocker('node', 'inspect', 'h5'), /fast/)
  t.match(await refusal(h1, 'node', 'inspect', 'none'), /No such node: none|node none not found/)
  const ids = new Map([...(await h1.nodes())].map(([name, { ID }]) => [name, ID]))
  t.match(
    await refusal(h1, 'node', 'rm', 'h5'),
    new RegExp(`FailedPrecondition desc = node ${ids.get('h5')} is not down and can't be removed$`),
  )
  t.match(
    await refusal(h1, 'node', 'rm', '--force', 'h2'),
    new RegExp(
      `desc = node ${ids.get('h2')} is a cluster manager and is a member of the raft cluster\\. ` +
        'It must be demoted to worker before removal$',
    ),
  )
  t.match(await h3.mustDocker('node', 'promote', 'h4'), /^Node h4 promoted to a manager in the/)
  await untilRoles(h4, 4, 5)
  t.match(await h4.mustDocker('node', 'promote', 'h4'), /already/)
  t.match(await refusal(h4, 'swarm', 'leave'), /on a node that is participating as a manager/)
  t.match(await h1.mustDocker('node', 'demote', 'h4'), /^Manager h4 demoted in the swarm\.$/)
  await untilRoles(h2, 3, 5)
  await waitFor(async () => /not a swarm manager/.test(await refusal(h4, 'node', 'ls')), {
    what: 'h4 to be a worker',
    timeoutMs: 60_000,
  })

  t.comment('a node that is removed while it runs is cut off at once, and told')
  await waitFor(() => peersOf(h4).includes(ids.get('h5')!), { what: 'h4 to have its key' })
  await h1.mustDocker('node', 'rm', '--force', 'h5')
  await waitFor(() => !peersOf(h4).includes(ids.get('h5')!), { what: 'h4 to forget its key' })
  await waitFor(async () => (await h5.info()).Swarm.LocalNodeState === 'error', { what: 'h5' })
  t.match((await h5.info()).Swarm.Error, /This node was removed from the swarm/)
  t.equal(await h5.mustDocker('swarm', 'leave', '--force'), 'Node left the swarm.')
  await join(h5, h2, await token(h2, 'worker'))
  t.equal(await h4.mustDocker('swarm', 'leave'), 'Node left the swarm.')
  await h1.untilNodes('h4 down', (shown) => shown.get('h4')?.Status.State === 'down')
  t.equal(await h1.mustDocker('node', 'rm', 'h4'), 'h4')
  await join(h4, h3, await token(h1, 'worker'))
  await untilRoles(h1, 3, 5)
}

async function swarmCommands(t: Test, nodes: readonly SwarmNode[]): Promise<void> {
  const [h1, h2, h3, h4] = nodes as [SwarmNode, SwarmNode, SwarmNode, SwarmNode]
  await h2.mustDocker('swarm', 'update', '--task-history-limit', '3', '--cert-expiry', '48h')
  const { Spec } = await h3.swarm()
  t.equal(Spec.Orchestration.TaskHistoryRetentionLimit, 3)
  t.equal(Spec.CAConfig.NodeCertExpiry, 48 * 3600 * 1e9)
  t.match(
    await refusal(h1, 'swarm', 'update', '--cert-expiry', '5m'),
    /minimum certificate expiry time is: 1h0m0s$/,
  )
  const root = await h3.mustDocker('swarm', 'ca')
  const before = await token(h1, 'worker')
  const rotation = await h2.docker('swarm', 'ca', '--rotate')
  t.equal(rotation.status, 0, rotation.stderr)
  t.match(`${rotation.stdout}${rotation.stderr}`, /rotated TLS certificates:[\s\S]*rotated CA cert/)
  t.match(rotation.stdout, /-----BEGIN CERTIFICATE-----/)
  const after = await h3.mustDocker('swarm', 'ca')
  t.not(after, root)
  t.ok(rotation.stdout.includes(after.trim()), 'it prints the new root')
  t.not(await token(h1, 'worker'), before, 'tokens name the root')
  await untilRoles(h1, 3, 5)

  t.comment('autolock')
  t.match(await h4.docker('swarm', 'unlock-key'), { status: 1 })
  const locking = await h1.mustDocker('swarm', 'update', '--autolock=true')
  const key = /SWMKEY-1-\S+/.exec(locking)![0]
  await waitFor(async () => (await h3.mustDocker('swarm', 'unlock-key', '-q')) === key, {
    what: 'the key on another manager',
  })
  t.match(await unlock(h1, key), { status: 1, stderr: /swarm is not locked/ })
  await h3.stop()
  await h3.start()
  t.equal(await refusal(h3, 'node', 'ls'), LOCKED)
  const wrong = `SWMKEY-1-${'A'.repeat(43)}`
  t.match(await unlock(h3, wrong), { status: 1, stderr: /could not be unlocked: invalid key/ })
  const next = await h1.mustDocker('swarm', 'unlock-key', '--rotate', '-q')
  t.not(next, key)
  t.match(await unlock(h3, key), { status: 0 }, 'who was away needs the old key, once')
  await untilRoles(h3, 3, 5)
  await h2.crash()
  await h2.start()
  t.match(await unlock(h2, next), { status: 0 })
  await untilRoles(h2, 3, 5)
  await h1.mustDocker('swarm', 'update', '--autolock=false')
  await waitFor(async () => (await h3.swarm()).Spec.EncryptionConfig.AutoLockManagers === false, {
    what: 'the end of autolock',
  })
}

async function lostMajority(t: Test, nodes: readonly SwarmNode[]): Promise<void> {
  const [h1, h2, h3, h4] = nodes as [SwarmNode, SwarmNode, SwarmNode, SwarmNode]
  const before = (await h2.nodes()).get('h4')!.Version.Index
  await Promise.all([h1.crash(), h3.crash()])
  const startMs = performance.now()
  await waitFor(async () => (await refusal(h2, 'node', 'ls')) === NO_LEADER, {
    what: 'h2 to say that there is no leader',
    timeoutMs: NO_LEADER_MS,
  })
  const commands = [
    ['node', 'update', '--label-add', 'lost=yes', 'h4'],
    ['swarm', 'join-token', '-q', '--rotate', 'worker'],
    ['network', 'create', '-d', 'overlay', 'lost'],
  ]
  // At once: each of them waits for a leader.
  for (const words of await Promise.all(commands.map((command) => refusal(h2, ...command)))) {
    t.equal(words, NO_LEADER)
  }
  t.ok(performance.now() - startMs < 2 * NO_LEADER_MS, 'in time')
  t.equal((await h2.info()).Swarm.LocalNodeState, 'active')
  t.equal((await h4.info()).Swarm.LocalNodeState, 'active')

  t.comment('it goes on alone, and what was refused has not happened')
  await h2.mustDocker('swarm', 'init', '--force-new-cluster', '--advertise-addr', h2.host.address)
  const shown = await h2.untilNodes('h2 leads, h4 is with it', (now) => {
    const isLeader = now.get('h2')?.ManagerStatus?.Leader === true
    return isLeader && now.get('h4')?.Status.State === 'ready'
  })
  t.same(shown.get('h4')!.Spec.Labels, {})
  t.ok(shown.get('h4')!.Version.Index >= before)
  t.notMatch(await h2.mustDocker('network', 'ls'), /lost/)
  await h2.mustDocker('node', 'update', '--label-add', 'found=yes', 'h4')
}

labTest('the docker CLI and a swarm of five', async (t, lab) => {
  if (dockerPath() === undefined) {
    t.comment('skipped: there is no docker CLI')
    return
  }
  const nodes = await startNodes(lab, 5)
  await founded(t, nodes)
  await nodeCommands(t, nodes)
  await swarmCommands(t, nodes)
  await lostMajority(t, nodes)
})
