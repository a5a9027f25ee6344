// Goal: services run as containers of real engines, on overlays of weft: their names, addresses and
// files are there when their process starts; VIP, names and published ports lead to them, published
// ports with the client's address. Method: an engine and an agent on each of two hosts of a lab,
// the docker CLI against the agent's socket.

import './enter.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, startEngineNodes, untilRunning } from './engine-scene.ts'

/** The first major version of the engine that puts its own name server before that of a network. */
const ENGINE_WITH_ITS_OWN = 26

const serve = (port: number): string =>
  `mkdir /www; echo here > /www/index.html; exec httpd -f -p ${port} -h /www`

engineTest('a service on two engines', async (t, lab) => {
  const { nodes, client } = await startEngineNodes(lab, 2)
  const [h1, h2] = nodes
  const docker = (...args: string[]): Promise<string> => h1!.node.mustDocker(...args)
  await docker('network', 'create', '-d', 'overlay', '--subnet', '10.7.0.0/24', 'ov')
  const page =
    'mkdir -p /www/cgi-bin; printf "#!/bin/sh\\necho; hostname; echo \\$REMOTE_ADDR" ' +
    '> /www/cgi-bin/who; chmod +x /www/cgi-bin/who; ip -o addr > /www/first; ' +
    'exec httpd -f -p 80 -h /www'
  await docker(
    'service',
    'create',
    '--detach',
    '--name',
    'web',
    '--network',
    'ov',
    '--replicas',
    '3',
    '-p',
    '8080:80',
    '--hostname',
    'web-{{.Task.Slot}}',
    'bb',
    'sh',
    '-c',
    page,
  )
  const tasks = await untilRunning(h1!, 'web', 3)
  t.equal(new Set(tasks.map(({ NodeID }) => NodeID)).size, 2, 'on both nodes')

  t.comment('what docker shows')
  const [name] = (await h1!.engine.mustDocker('ps', '--format', '{{.Names}}')).split('\n')
  t.match(name, /^web\.[123]\.[0-9a-z]{25}$/)
  const [shown] = JSON.parse(await h1!.engine.mustDocker('inspect', name!))
  t.match(shown.NetworkSettings.Networks.ov.IPAddress, /^10\.7\.0\.\d+$/)
  t.match(shown.Config.Labels['com.docker.swarm.service.name'], 'web')
  const run = (...args: string[]): Promise<string> => h1!.engine.mustDocker('exec', name!, ...args)
  t.match(await run('cat', '/www/first'), /inet 10\.7\.0\.\d+\/24/, 'there before its process')

  t.comment('VIP, names, and a published port')
  const who = 'cgi-bin/who'
  const seen = new Set<string>()
  for (let n = 0; n < 12; n++)
    seen.add((await run('wget', '-qO-', `http://web/${who}`)).split('\n')[0]!)
  t.same([...seen].sort(), ['web-1', 'web-2', 'web-3'], 'the VIP reaches them all')
  const answers = (await run('nslookup', 'tasks.web')).split('Name:').slice(1).join()
  t.equal(answers.match(/10\.7\.0\.\d+/g)?.length, 3)
  const resolv = await run('cat', '/etc/resolv.conf')
  t.match(resolv, /^options .*ndots:0/m)
  const version = await h1!.engine.mustDocker('version', '--format', '{{.Server.Version}}')
  if (Number.parseInt(version, 10) < ENGINE_WITH_ITS_OWN) {
    t.match(resolv, /^nameserver 10\.7\.0\.1$/m, "the network's own name server")
    t.notMatch(resolv, /127\.0\.0\.11/, "without the engine's in between")
  }
  const answer = await waitFor(
    async () =>
      client.must(['wget', '-T', '5', '-qO-', `http://${h2!.node.host.address}:8080/${who}`]),
    { what: 'the published port', timeoutMs: 20_000 },
  )
  t.match(answer, client.address, "the client's own address")
})

engineTest("on the node's own network, and a port of mode host", async (t, lab) => {
  const { nodes, client } = await startEngineNodes(lab, 1)
  const [h1] = nodes
  const { host } = h1!.node
  const create = (name: string, ...more: string[]): Promise<string> =>
    h1!.node.mustDocker('service', 'create', '--detach', '--name', name, ...more)
  await create('hosted', '--network', 'host', 'bb', 'sh', '-c', serve(8099))
  await create('port', '-p', 'mode=host,published=8098,target=80', 'bb', 'sh', '-c', serve(80))
  await untilRunning(h1!, 'hosted', 1)
  await untilRunning(h1!, 'port', 1)
  const names = await h1!.engine.mustDocker('ps', '--format', '{{.Names}}')
  const modeOf = async (name: string): Promise<string> => {
    const container = names.split('\n').find((one) => one.startsWith(`${name}.`))!
    const [{ HostConfig, NetworkSettings }] = JSON.parse(
      await h1!.engine.mustDocker('inspect', container),
    )
    return `${HostConfig.NetworkMode} ${Object.keys(NetworkSettings.Networks)}`
  }
  t.equal(await modeOf('hosted'), 'host host')
  t.match(await modeOf('port'), /^(default|bridge) bridge$/, "the engine's own, and no other")
  const ask = ['wget', '-T', '5', '-qO-', `http://${host.address}:8099/`]
  const answer = await waitFor(async () => (await client.exec(ask)).stdout, {
    what: 'an answer at the port of the node',
    timeoutMs: 30_000,
  })
  t.equal(answer, 'here\n')
})
