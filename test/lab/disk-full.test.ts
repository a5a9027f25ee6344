// Goal: a worker whose disk is full goes on forwarding and running what it runs, also over a
// restart of its agent, and takes tasks on again when there is room. Method: a data directory on a
// small file system that is filled to its last byte; a task that writes all the time.

import './enter.ts'
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { foundSwarm, SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const CHATTER = ['sh', '-c', 'while true; do echo a line of no great length; sleep 0.02; done']

labTest('a worker whose disk is full', async (t, lab) => {
  const hosts = await lab.hostsNamed('h1', 'h2', 'h3')
  await lab.bridge(hosts)
  const nodes = hosts.map((host) => new SwarmNode(lab, host))
  const [h1, h2] = nodes as [SwarmNode, SwarmNode, SwarmNode]
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', h2.dataDirectory])
  t.teardown(() => execFileSync('umount', ['-l', h2.dataDirectory]))
  await Promise.all(nodes.map((node) => node.start()))
  await foundSwarm(nodes, 1)
  const service = (name: string): Promise<unknown> => {
    const TaskTemplate = {
      ContainerSpec: { Image: 'host', Command: CHATTER, StopGracePeriod: 1e6 },
    }
    return h1.api.ask('POST', '/services/create', {
      Name: name,
      TaskTemplate,
      Mode: { Global: {} },
    })
  }
  const states = async (name: string): Promise<Set<string>> => {
    const filters = encodeURIComponent(JSON.stringify({ service: [name], node: ['h2'] }))
    const tasks = await h1.api.ask<{ Status: { State: string } }[]>(
      'GET',
      `/tasks?filters=${filters}`,
    )
    return new Set(tasks.map(({ Status }) => Status.State))
  }
  const is = (name: string, state: string): Promise<unknown> =>
    waitFor(async () => (await states(name)).has(state), {
      what: `${name} to be ${state} on h2`,
      timeoutMs: 30_000,
    })
  await service('before')
  await is('before', 'running')

  t.comment('full; and everything that a node writes down changes')
  const filling: string[] = []
  for (const size of [65_536, 4096, 1]) fill(h2.dataDirectory, size, filling)
  await h1.updateNode('h3', { Role: 'manager' })
  await h1.untilNodes('h3 reachable', (all) => {
    return all.get('h3')?.ManagerStatus?.Reachability === 'reachable'
  })
  await service('while')
  await is('while', 'rejected')
  t.equal((await h2.info()).Swarm.LocalNodeState, 'active')
  t.same(await states('before'), new Set(['running']))

  t.comment('its agent starts again')
  t.equal(await h2.stop(), 0)
  // What the end has freed is taken as well, and nothing can be written over.
  rmSync(join(h2.dataDirectory, 'pid'), { force: true })
  for (const size of [65_536, 4096, 1]) fill(h2.dataDirectory, size, filling)
  await h2.start()
  t.equal((await h2.info()).Swarm.LocalNodeState, 'active', h2.log)
  await h1.untilNodes('h2 ready', (all) => all.get('h2')?.Status.State === 'ready')
  t.same(await states('before'), new Set(['running']))

  t.comment('there is room again')
  for (const path of filling) rmSync(path)
  await is('while', 'running')
})

/** Writes files of `size` until there is no room for another. */
function fill(directory: string, size: number, files: string[]): void {
  for (;;) {
    const path = join(directory, `filling-${files.length}`)
    files.push(path)
    try {
      writeFileSync(path, Buffer.alloc(size))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return
      throw error
    }
  }
}
