// Goal: a container that a user starts on an attachable network, on a worker, through weft's
// socket, is on it like any task: it reaches services by name, is reached by its own, is shown to
// whoever asks for attachments, keeps its connections over an agent's end, and leaves nothing when
// it goes. Method: an engine and an agent on each of two hosts of a lab, the docker CLI.

import './enter.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, type ShownTask, startEngineNodes, untilRunning } from './engine-scene.ts'

engineTest('docker run --network', async (t, lab) => {
  const { nodes } = await startEngineNodes(lab, 2)
  const [h1, h2] = nodes
  const docker = (...args: string[]): Promise<string> => h1!.node.mustDocker(...args)
  await docker(
    'network',
    'create',
    '-d',
    'overlay',
    '--attachable',
    '--subnet',
    '10.8.0.0/24',
    'ov',
  )
  await docker('network', 'create', '-d', 'overlay', 'closed')
  const pin = ['--constraint', 'node.role==manager', '--stop-grace-period', '1s']
  const service = ['--detach', '--name', 'web', '--network', 'ov', ...pin, 'bb', 'sleep', '10000']
  await docker('service', 'create', ...service)
  const [task] = await untilRunning(h1!, 'web', 1)
  const name = ['--name', 'mine', '--network', 'ov']
  await h2!.node.mustDocker('run', '-d', ...name, 'bb', 'sleep', '10000')
  const inside = (...args: string[]): Promise<string> =>
    h2!.engine.mustDocker('exec', 'mine', ...args)
  t.match(await inside('ip', '-o', 'addr'), /inet 10\.8\.0\.\d+\/24/)
  t.match(await inside('ping', '-c', '1', '-W', '5', 'tasks.web'), /1 packets received/)
  const filters = encodeURIComponent('{"runtime":["attachment"]}')
  const attachments = (): Promise<ShownTask[]> =>
    h1!.node.api.ask<ShownTask[]>('GET', `/tasks?filters=${filters}`)
  t.equal((await attachments()).length, 1)
  const id = task!.Status.ContainerStatus!.ContainerID
  // Where nobody knows a name the answer takes its time.
  const byName = ['exec', id, 'timeout', '4', 'ping', '-c', '1', '-W', '2', 'mine']
  await waitFor(async () => h1!.engine.mustDocker(...byName), {
    what: 'its name on the other node',
    timeoutMs: 60_000,
  })
  t.match(await h2!.node.docker('run', '--network', 'closed', 'bb', 'true'), {
    stderr: /Could not attach to network closed.*not manually attachable/s,
  })

  t.comment('over the end of the agent')
  await h2!.node.crash()
  await h2!.node.start()
  await waitFor(async () => inside('ping', '-c', '1', '-W', '2', 'tasks.web'), {
    what: 'the same container to reach the service',
    timeoutMs: 30_000,
  })
  await h2!.node.mustDocker('rm', '-f', 'mine')
  await waitFor(async () => (await attachments()).length === 0, {
    what: 'the end of the attachment',
    timeoutMs: 30_000,
  })
})
