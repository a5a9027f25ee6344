// Goal: where weft cannot be the engine's network driver, containers of services still get their
// interfaces, right after their start, and published ports lead to them; containers of users are
// refused with a sentence. Method: agents that are told of a plugin directory that
// cannot be.

import './enter.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, insideOf, startEngineNodes, untilRunning } from './engine-scene.ts'

const PAGE = ['sh', '-c', 'mkdir -p /w; hostname > /w/who; exec httpd -f -p 80 -h /w']
const QUICK = ['--detach', '--stop-grace-period', '1s']

engineTest('an engine that cannot have a driver', async (t, lab) => {
  const { nodes, client } = await startEngineNodes(lab, 2, (engine) => [
    ...['--runtime', 'docker', '--engine', `unix://${engine.socket}`],
    ...['--plugin-dir', `${engine.socket}/plugins`],
  ])
  const [h1, h2] = nodes
  t.match(h1!.node.log, /interfaces are made after a container has started/)
  const docker = (...args: string[]): Promise<string> => h1!.node.mustDocker(...args)
  await docker('network', 'create', '-d', 'overlay', '--subnet', '10.9.0.0/24', 'ov')
  const web = ['--name', 'web', '--network', 'ov', '--mode', 'global', '-p', '8080:80']
  await docker('service', 'create', ...QUICK, ...web, 'bb', ...PAGE)
  const tasks = await untilRunning(h1!, 'web', 2)
  const inside = await insideOf(h1!, h1!, tasks)
  await waitFor(async () => /10\.9\.0\.\d+\/24/.test((await inside('ip', '-o', 'addr')).stdout), {
    what: 'its interface',
    timeoutMs: 20_000,
  })
  const seen = new Set<string>()
  await waitFor(
    async () => {
      seen.add((await inside('timeout', '2', 'wget', '-qO-', 'http://web/who')).stdout.trim())
      seen.delete('')
      return seen.size === 2
    },
    { what: 'the VIP to lead to both', timeoutMs: 20_000 },
  )
  const url = `http://${h2!.node.host.address}:8080/who`
  // The interface on the ingress network comes after the start, too.
  const page = (): Promise<string> => client.must(['wget', '-T', '5', '-qO-', url])
  t.ok(await waitFor(page, { what: url, timeoutMs: 20_000 }), 'published ports, too')
  t.match(await h1!.node.docker('network', 'create', '-d', 'overlay', '--attachable', 'att'), {
    status: 0,
  })
  t.match(await h1!.node.docker('run', '--rm', '--network', 'att', 'bb', 'true'), {
    stderr: /weft is not the network driver of the engine here/,
  })
})
