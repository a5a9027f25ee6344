// Goal: a service is what its specification says from its creation to its end: tasks on the right
// nodes, names and addresses inside, a port outside, secrets, logs, scale, placement that explains
// itself, updates that pause and roll back, and nothing left of it. Method: three real agents, the
// Engine API, and requests from inside tasks and from a client outside.

import './enter.ts'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab } from '../../cli/lab/lab.ts'
import { pageService, type ShownTask, Swarm } from '../../cli/lab/swarm.ts'
import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

const TIMEOUT_MS = 240_000
const SLEEP = ['sh', '-c', 'exec sleep 10000']

function plain(name: string, more: object = {}, container: object = {}, template: object = {}) {
  return {
    Name: name,
    Mode: { Replicated: { Replicas: 1 } },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'host',
        Command: SLEEP,
        StopGracePeriod: 1_000_000_000,
        ...container,
      },
      RestartPolicy: { Condition: 'any', Delay: 100_000_000 },
      ...template,
    },
    ...more,
  }
}

/** Runs a command in a task's network and files, as `docker exec` would. */
async function inTask(swarm: Swarm, task: ShownTask, ...command: string[]): Promise<string> {
  const node = swarm.nodeOf(task, await swarm.manager.nodes())
  const supervisor = readFileSync(join(node.dataDirectory, 'tasks', task.ID, 'pid'), 'utf8')
  let pid = Number.parseInt(supervisor, 10)
  for (let i = 0; i < 2; i++) {
    pid = Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'), 10)
  }
  const enter = ['nsenter', '--target', String(pid), '--mount', '--uts', '--net', '--']
  const { status, stdout, stderr } = await node.host.exec([...enter, ...command])
  if (status !== 0) throw new Error(`${command.join(' ')}: ${status} ${stderr}`)
  return stdout.trim()
}

async function names(swarm: Swarm, task: ShownTask, name: string, kind = 'ahostsv4') {
  const text = await inTask(swarm, task, 'getent', kind, name)
  return [...new Set(text.split('\n').map((line) => line.split(/\s+/)[0]!))].sort()
}

function addressesOn(tasks: readonly ShownTask[], network: string): string[] {
  return tasks
    .flatMap(({ NetworksAttachments = [] }) => NetworksAttachments)
    .filter(({ Network }) => Network.Spec.Name === network)
    .flatMap(({ Addresses }) => Addresses)
    .map((address) => address.replace(/\/.*/, ''))
    .filter((address) => !address.includes(':'))
    .sort()
}

/** What nodes keep of tasks. */
function remains(nodes: readonly SwarmNode[]): string[] {
  return nodes.flatMap((node) =>
    [
      join(node.dataDirectory, 'tasks'),
      join(node.runDirectory, 'netns'),
      join(node.runDirectory, 'files'),
    ].flatMap((path) => readdirSync(path).map((name) => `${path}/${name}`)),
  )
}

async function namesAndPorts(t: Test, swarm: Swarm): Promise<void> {
  await swarm.network('front')
  await swarm.network('back')
  await swarm.service(pageService('web', ['front'], 3, { port: 8080 }))
  await swarm.service(plain('client', {}, {}, { Networks: [{ Target: 'front', Aliases: ['me'] }] }))
  await swarm.service(plain('other', {}, {}, { Networks: [{ Target: 'back' }] }))
  await swarm.service(
    plain(
      'rr',
      { Mode: { Replicated: { Replicas: 2 } }, EndpointSpec: { Mode: 'dnsrr' } },
      {},
      {
        Networks: [{ Target: 'front' }],
      },
    ),
  )
  const web = await swarm.converged('web', 3)
  const [client] = await swarm.converged('client', 1)
  const [other] = await swarm.converged('other', 1)
  const rr = await swarm.converged('rr', 2)
  t.equal(new Set(web.map(({ NodeID }) => NodeID)).size, 3, 'one on each node')

  t.comment('names inside')
  const { Endpoint } = await swarm.inspect('web')
  const attached = addressesOn(web, 'front')
  const vips = (Endpoint?.VirtualIPs ?? []).map(({ Addr }) => Addr.replace(/\/.*/, ''))
  await waitFor(async () => (await names(swarm, client!, 'tasks.web')).length === 3, {
    what: 'three addresses of tasks.web',
    timeoutMs: 30_000,
  })
  const [vip] = await names(swarm, client!, 'web')
  t.ok(vips.includes(vip!), 'the service is its VIP')
  t.same(await names(swarm, client!, 'tasks.web'), attached)
  t.same(await names(swarm, client!, 'rr'), addressesOn(rr, 'front'), 'dnsrr')
  t.equal((await names(swarm, client!, 'me')).length, 1, 'an alias')
  t.match(await inTask(swarm, client!, 'getent', 'hosts', attached[0]!), /web\.\d/, 'PTR')
  await t.rejects(names(swarm, other!, 'web'), /getent/, 'not known on another network')
  const seen = new Set<string>()
  for (let n = 0; n < 9; n++) {
    const answer = await inTask(swarm, client!, 'curl', '-s', '-m', '20', 'http://web/')
    seen.add(answer.split(' ')[0]!)
  }
  t.equal(seen.size, 3, 'the VIP reaches each task')
  const curl = ['curl', '-s', '-m', '2', `http://${attached[0]}/`]
  await t.rejects(inTask(swarm, other!, ...curl), /curl/, 'networks are apart')

  t.comment('the published port, on every node, with the address of the client')
  await swarm.served(8080)
  for (const { host } of swarm.nodes) {
    for (const [address, own] of [
      [host.address, swarm.client.address],
      [`[${host.address6}]`, swarm.client.address6],
    ] as const) {
      const url = `http://${address}:8080/`
      const got = await swarm.client.probe.try('get', url, { timeoutMs: 20_000 })
      t.ok(got.body?.trim().endsWith(` saw ${own}`), `${url}: ${got.error ?? got.body}`)
    }
  }
}

async function filesAndLogs(t: Test, swarm: Swarm): Promise<void> {
  const data = (text: string): string => Buffer.from(text).toString('base64')
  const { ID: SecretID } = await swarm.ask('POST', '/secrets/create', {
    Name: 'pw',
    Data: data('hush'),
  })
  const { ID: ConfigID } = await swarm.ask('POST', '/configs/create', {
    Name: 'conf',
    Data: data('{{.Task.Slot}} of {{.Service.Name}}'),
    Templating: { Name: 'golang' },
  })
  const file = (Name: string) => ({ Name, UID: '0', GID: '0', Mode: 0o400 })
  await swarm.service(
    plain(
      'files',
      {},
      {
        Command: ['sh', '-c', 'cat /run/secrets/pw; echo; cat /run/conf; echo; exec sleep 1000'],
        Secrets: [{ SecretID, SecretName: 'pw', File: file('pw') }],
        Configs: [{ ConfigID, ConfigName: 'conf', File: file('/run/conf') }],
      },
    ),
  )
  await swarm.converged('files', 1)
  const logs = async (): Promise<string> => {
    const { text } = await swarm.manager.api.call('GET', '/services/files/logs?stdout=1&stderr=1')
    return text
  }
  await waitFor(async () => (await logs()).includes('1 of files'), {
    what: 'the log of a task',
    timeoutMs: 30_000,
  }).catch(async (error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(await logs())}`)
  })
  t.match(await logs(), /hush/, 'the secret was there')
  await t.rejects(swarm.ask('DELETE', '/secrets/pw'), /is in use by the following service: files/)
  await swarm.ask('DELETE', '/services/files')
  await waitFor(() => swarm.ask('DELETE', `/secrets/${SecretID}`).then(() => true), {
    what: 'the secret to be free',
  })
  await swarm.ask('DELETE', `/configs/${ConfigID}`)
}

async function modesAndPlacement(t: Test, swarm: Swarm): Promise<void> {
  t.comment('global, jobs, constraints')
  await swarm.service(plain('everywhere', { Mode: { Global: {} } }))
  const job = { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 4 } }
  const once = { Command: ['true'] }
  const untilDone = { RestartPolicy: { Condition: 'on-failure' } }
  await swarm.service(plain('job', { Mode: job }, once, untilDone))
  await swarm.service(plain('all', { Mode: { GlobalJob: {} } }, once, untilDone))
  const Constraints = ['node.hostname==h2']
  await swarm.service(
    plain('there', { Mode: { Replicated: { Replicas: 2 } } }, {}, { Placement: { Constraints } }),
  )
  await swarm.service(
    plain('nowhere', {}, {}, { Placement: { Constraints: ['node.labels.zone==moon'] } }),
  )
  const tasks = await swarm.converged('everywhere', 3)
  t.equal(new Set(tasks.map(({ NodeID }) => NodeID)).size, 3)
  for (const [name, count] of [
    ['job', 4],
    ['all', 3],
  ] as const) {
    await waitFor(
      async () => {
        const all = await swarm.tasks(name)
        return all.filter(({ Status }) => Status.State === 'complete').length === count
      },
      { what: `${count} completions of ${name}`, timeoutMs: 60_000 },
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await swarm.describe(name)}`)
    })
  }
  const h2 = (await swarm.manager.nodes()).get('h2')!.ID
  for (const { NodeID } of await swarm.converged('there', 2)) t.equal(NodeID, h2)
  const why = async (): Promise<string> => (await swarm.tasks('nowhere'))[0]?.Status.Err ?? ''
  await waitFor(async () => /scheduling constraints not satisfied on 3 nodes/.test(await why()), {
    what: 'the reason why a task is nowhere',
  })
  t.equal((await swarm.tasks('nowhere'))[0]?.Status.State, 'pending')
  for (const name of ['everywhere', 'job', 'all', 'there', 'nowhere']) {
    await swarm.ask('DELETE', `/services/${name}`)
  }
}

async function updates(t: Test, swarm: Swarm): Promise<void> {
  t.comment('scale; a bad update pauses, or rolls back; restarts')
  await swarm.service(
    plain('app', {
      Mode: { Replicated: { Replicas: 2 } },
      // The delay is for the failure to be seen before the next turn: a task runs before it ends.
      UpdateConfig: { Parallelism: 1, Delay: 20_000_000_000, Monitor: 1, FailureAction: 'pause' },
      RollbackConfig: { Parallelism: 0, Monitor: 100_000_000 },
    }),
  )
  await swarm.converged('app', 2)
  await swarm.scale('app', 4)
  await swarm.converged('app', 4)
  await swarm.scale('app', 2)
  const before = await swarm.converged('app', 2)
  const spoil = (action: string): Promise<void> =>
    swarm.change('app', (spec) => {
      spec.TaskTemplate.ContainerSpec.Command = ['sh', '-c', `exit ${action.length}`]
      spec.TaskTemplate.RestartPolicy = { Condition: 'none' }
      spec.UpdateConfig.FailureAction = action
    })
  await spoil('pause')
  await swarm.updated('app', 'paused')
  const failed = (await swarm.tasks('app')).filter(({ Status }) => Status.State === 'failed')
  t.match(failed[0]?.Status.Err, /non-zero exit \(5\)/)
  t.equal((await swarm.running('app')).length, 1, 'the others are left alone')
  await swarm.change('app', () => {}, '&rollback=previous')
  await swarm.updated('app', 'rollback_completed', 90_000)
  const after = await swarm.converged('app', 2)
  const kept = after.filter(({ ID }) => before.some((task) => task.ID === ID))
  t.equal(kept.length, 1, 'what was never replaced is not touched')
  await spoil('rollback')
  await swarm.updated('app', 'rollback_completed')
  await swarm.converged('app', 2)
  t.equal((await swarm.inspect('app')).Spec.TaskTemplate.ContainerSpec.Command[0], 'sh')
  await swarm.ask('DELETE', '/services/app')
}

async function nothingIsLeft(t: Test, swarm: Swarm): Promise<void> {
  const used = await swarm.ask('DELETE', '/networks/front').catch((error: Error) => error.message)
  t.match(used, /is in use by/)
  for (const { ID } of await swarm.ask('GET', '/services')) {
    await swarm.ask('DELETE', `/services/${ID}`)
  }
  await waitFor(() => remains(swarm.nodes).length === 0, {
    what: 'nodes to be empty',
    timeoutMs: 60_000,
  }).catch((error: Error) => {
    throw new Error(`${error.message}: ${remains(swarm.nodes).join(' ')}`)
  })
  for (const name of ['front', 'back']) {
    await waitFor(() => swarm.ask('DELETE', `/networks/${name}`).then(() => true), {
      what: `the end of network ${name}`,
      timeoutMs: 30_000,
    })
  }
  t.same(await swarm.tasks(), [])
  for (const { host } of swarm.nodes) {
    const links = async (): Promise<string> => host.must(['ip', '-o', 'link'])
    await waitFor(async () => !/8080/.test(await host.must(['ip', 'rule'])), {
      what: 'the rules of a published port to go',
    })
    t.match(await links(), /eth0/)
  }
}

async function scene(lab: Lab): Promise<Swarm> {
  return Swarm.start(lab, { count: 3, managers: 1 })
}

labTest(
  'services, from their beginning to their end',
  async (t, lab) => {
    const swarm = await scene(lab)
    await namesAndPorts(t, swarm)
    await filesAndLogs(t, swarm)
    await modesAndPlacement(t, swarm)
    await updates(t, swarm)
    await nothingIsLeft(t, swarm)
  },
  TIMEOUT_MS,
)
