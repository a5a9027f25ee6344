// Goal: what a service asks of its containers it gets: secrets, configs, environment, logs; and a
// task that fails says why in Docker's words. When all services are gone, nothing of them is left.
// Method: one engine and one agent in a lab, the docker CLI against the agent's socket.

import './enter.ts'
import type { EngineNode } from '../../cli/lab/engine.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, startEngineNodes, tasksOf, untilRunning } from './engine-scene.ts'
import type { Test } from './lab-test.ts'

engineTest('what a task gets, and how it ends', async (t, lab) => {
  const { nodes } = await startEngineNodes(lab, 1)
  const [h1] = nodes
  await createAll(h1!, lab.folder)
  await checkContainer(t, h1!)
  await checkEnds(t, h1!)
  await checkNothingLeft(h1!)
})

async function createAll({ node }: EngineNode, folder: string): Promise<void> {
  const docker = (...args: string[]): Promise<string> => node.mustDocker(...args)
  const create = (name: string, ...args: string[]): Promise<string> =>
    docker('service', 'create', '--detach', '--name', name, ...args)
  await node.host.must(['sh', '-c', `printf geheim > ${folder}/s; printf offen > ${folder}/c`])
  await docker('network', 'create', '-d', 'overlay', 'ov')
  await docker('secret', 'create', 'sec', `${folder}/s`)
  await docker('config', 'create', 'conf', `${folder}/c`)
  const script =
    'echo "$(cat /run/secrets/sec) $(cat /etc/c) $WHO"; echo oops >&2; touch /tmp/ok; ' +
    'exec httpd -f'
  await create(
    'all',
    '--network',
    'ov',
    '--secret',
    'sec',
    '--config',
    'source=conf,target=/etc/c',
    '--env',
    'WHO={{.Service.Name}}.{{.Task.Slot}}',
    '--health-cmd',
    'test -f /tmp/ok',
    '--health-interval',
    '200ms',
    '--limit-memory',
    '64M',
    '--stop-grace-period',
    '1s',
    '--host',
    'other:10.1.2.3',
    '--container-label',
    'tier=first row',
    '--log-driver',
    'json-file',
    '--log-opt',
    'labels=tier',
    'bb',
    'sh',
    '-c',
    script,
  )
  const once = ['--restart-condition', 'none', '--stop-grace-period', '1s']
  await create('bad', ...once, 'bb', 'sh', '-c', 'exit 7')
  await create(
    'sick',
    ...once,
    '--health-cmd',
    'false',
    '--health-interval',
    '100ms',
    '--health-retries',
    '1',
    'bb',
    'sleep',
    '1000',
  )
  await create('none', ...once, 'nope:1')
}

async function checkContainer(t: Test, h1: EngineNode): Promise<void> {
  const { node, engine } = h1
  const [task] = await untilRunning(h1, 'all', 1)
  const id = task!.Status.ContainerStatus!.ContainerID
  const [shown] = JSON.parse(await engine.mustDocker('inspect', id))
  t.equal(shown.HostConfig.Memory, 64 * 1024 * 1024)
  t.equal(shown.State.Health.Status, 'healthy', 'it runs when it is healthy')
  t.match(await engine.mustDocker('exec', id, 'cat', '/etc/hosts'), /10\.1\.2\.3\s+other/)
  t.match(await engine.mustDocker('exec', id, 'ls', '-l', '/run/secrets/sec'), /-r--r--r--/)
  t.match(await engine.docker('exec', id, 'sh', '-c', 'echo x > /run/secrets/sec'), { status: 1 })
  const logs = await waitFor(
    async () => {
      const { stdout, stderr } = await node.docker('service', 'logs', '--timestamps', 'all')
      return /geheim/.test(stdout) && /oops/.test(stderr) ? { stdout, stderr } : null
    },
    { what: 'the logs' },
  )
  t.match(logs.stdout, /^\d{4}-[^ ]+Z all\.1\.[0-9a-z]+@h1 +\| geheim offen all\.1$/m)
  const detailed = await node.mustDocker('service', 'logs', '--details', 'all')
  t.match(detailed, /@h1 +\| tier=first row geheim offen all\.1$/m, 'what the log driver adds')
}

async function checkEnds(t: Test, h1: EngineNode): Promise<void> {
  const ended = async (service: string): Promise<unknown> =>
    waitFor(
      async () => {
        const [one] = await tasksOf(h1, service)
        const isOver = ['failed', 'rejected'].includes(one!.Status.State)
        return isOver ? [one!.Status.State, one!.Status.Err] : null
      },
      { what: `the end of ${service}`, timeoutMs: 60_000, stepMs: 100 },
    )
  t.same(await ended('bad'), ['failed', 'task: non-zero exit (7)'])
  const why = 'task: non-zero exit (137): dockerexec: unhealthy container'
  t.same(await ended('sick'), ['failed', why])
  t.same(await ended('none'), ['rejected', 'No such image: nope:1'])
}

async function checkNothingLeft({ node, engine }: EngineNode): Promise<void> {
  await node.mustDocker('service', 'rm', 'all', 'bad', 'sick', 'none')
  await waitFor(async () => (await engine.mustDocker('ps', '-aq')) === '', {
    what: 'the end of every container',
    timeoutMs: 60_000,
    stepMs: 100,
  })
  const left = async (): Promise<string[]> => [
    await engine.mustDocker('network', 'ls', '-q', '--filter', 'driver=weft'),
    await node.host.must(['sh', '-c', 'ip -o link | grep wft || true']),
    await node.host.must(['ls', `${node.runDirectory}/files`]),
  ]
  await waitFor(async () => (await left()).every((text) => text === ''), {
    what: 'the end of networks, interfaces and files',
    timeoutMs: 30_000,
  })
}
