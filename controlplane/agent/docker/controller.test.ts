// Goal: a task of the Docker executor that is not wanted any more ends, whatever the engine is busy
// with. Method: a task's manager over an engine that never gets an image, and one that publishes
// two ports for one.

import type Docker from 'dockerode'
import t from 'tap'
import { silentLogger } from '../../../base/log.ts'
import { manualTimers } from '../../../base/timers.ts'
import { firstStatus } from '../task-machine.ts'
import { TaskManager } from '../task-manager.ts'
import { task, until } from '../testing/tasks.ts'
import { DockerController, type DockerParts, type Inspection } from './controller.ts'
import { Puller } from './pull.ts'

const host = {
  secret: () => undefined,
  config: () => undefined,
  node: { id: 'node1', hostname: 'h1' },
  changed: () => {},
  networked: () => Promise.resolve(),
}

function partsOf(docker: Docker): DockerParts {
  return {
    docker,
    events: { watch: () => () => {} } as unknown as DockerParts['events'],
    networks: {} as DockerParts['networks'],
    puller: new Puller(docker, silentLogger),
    driver: null,
    filesDirectory: '/nonexistent',
    network: () => undefined,
    macOf: () => '',
    log: silentLogger,
  }
}

t.test('an image that does not come holds up no stop', async (t) => {
  let pulls = 0
  const timers = manualTimers()
  const docker = {
    pull: () => {
      pulls++
      return new Promise(() => {})
    },
    getContainer: () => ({
      inspect: () => Promise.reject(Object.assign(new Error('none'), { statusCode: 404 })),
    }),
  } as unknown as Docker
  const one = task('t1')
  const manager = new TaskManager(one, firstStatus('assigned', 0), {
    controller: new DockerController(one, host, partsOf(docker), null),
    clock: timers.clock,
    timers,
    log: silentLogger,
    lacks: () => null,
    onStatus: () => {},
    onTables: () => {},
  })
  t.teardown(() => manager.close())
  await until(() => pulls === 1)
  t.equal(manager.status.state, 'preparing')
  manager.update({ ...one, desiredState: 'shutdown' })
  await until(() => manager.status.state === 'shutdown')
})

t.test('two published ports of one port', async (t) => {
  const port = { Protocol: 'tcp', TargetPort: 80, PublishMode: 'host' } as const
  const ports = [
    { ...port, PublishedPort: 8080 },
    { ...port, PublishedPort: 8081 },
  ]
  const seen = {
    Id: 'c1',
    State: { Pid: 1, ExitCode: 0, Running: true, Status: 'running' },
    NetworkSettings: { Ports: { '80/tcp': [{ HostPort: '8080' }, { HostPort: '8081' }] } },
  } as unknown as Inspection
  const one = task('t1', { endpoint: { spec: {}, ports, virtualIps: [] } })
  const controller = new DockerController(one, host, partsOf({} as Docker), seen)
  t.same(
    controller.status().hostPorts.map(({ PublishedPort }) => PublishedPort),
    [8080, 8081],
  )
})
