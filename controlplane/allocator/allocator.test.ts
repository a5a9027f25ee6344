// Goal: networks, services and tasks get what they ask for, in this order, once; what cannot be
// given is said and tried again. Method: a store in memory, time by hand; at the end random changes
// with a check that no two hold the same.

import t, { type Test } from 'tap'
import { sinkLogger } from '../../base/log.ts'
import { type Prng, prng } from '../../base/prng.ts'
import type { TaskObject } from '../store/objects.ts'
import type { PortConfig, ServiceSpec } from '../store/specs.ts'
import { LoopWorld } from '../store/testing/loops.ts'
import {
  clusterObject,
  networkObject,
  nodeObject,
  serviceObject,
  taskObject,
  taskSpec,
} from '../store/testing/objects.ts'
import { Allocator } from './allocator.ts'
import { AllocatorState } from './state.ts'

async function allocating(t: Test) {
  const world = new LoopWorld()
  const allocator = new Allocator(world.context)
  await world.add('clusters', clusterObject())
  world.start(allocator)
  t.teardown(() => world.stop())
  await world.run(200)
  return { world, allocator }
}

const fresh = (id: string, changes: Partial<TaskObject> = {}) =>
  taskObject(id, { ...changes, status: { ...taskObject(id).status, state: 'new' } })
const on = (...targets: string[]): Partial<ServiceSpec> => ({
  TaskTemplate: taskSpec({ Networks: targets.map((Target) => ({ Target })) }),
})
const ended = (task: TaskObject): TaskObject => ({
  ...task,
  desiredState: 'shutdown',
  status: { ...task.status, state: 'shutdown' },
})
const port: PortConfig = { Protocol: 'tcp', TargetPort: 80, PublishMode: 'ingress' }

t.test('a cluster begins with its ingress network, once', async (t) => {
  const { world } = await allocating(t)
  const [ingress] = world.all('networks')
  t.match(ingress, {
    spec: { Name: 'ingress', Ingress: true },
    allocation: { vni: 4096, subnets: [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }] },
  })
  await world.update((tx) => tx.remove('networks', ingress!.id))
  world.stop()
  world.start(new Allocator(world.context))
  await world.run(500)
  t.equal(world.all('networks').length, 0, 'who removes it does not get it back')
})

t.test('the cluster may come after the leader', async (t) => {
  const world = new LoopWorld()
  world.start(new Allocator(world.context))
  t.teardown(() => world.stop())
  await world.run(100)
  await world.add('clusters', clusterObject())
  await world.run(500)
  t.equal(world.all('networks').length, 1)
})

t.test('service and tasks on two networks, published', async (t) => {
  const { world } = await allocating(t)
  await world.add('networks', networkObject('front'), networkObject('back', { EnableIPv6: true }))
  const spec = { ...on('front', 'back'), EndpointSpec: { Ports: [port] } }
  await world.add('services', serviceObject('web', spec))
  const Networks = [{ Target: 'front', Aliases: ['www'] }, { Target: 'back' }]
  await world.add('tasks', fresh('t1', { spec: taskSpec({ Networks }) }))
  await world.run(500)
  const { endpoint } = world.get('services', 'web')
  t.match(
    endpoint.virtualIps.map(({ address }) => address),
    ['10.0.0.2/24', '10.0.1.2/24', '10.0.2.2/24', /^fd.*::2\/64$/],
  )
  t.equal(endpoint.ports[0]!.PublishedPort, 30_000)
  const task = world.get('tasks', 't1')
  t.match(task.status, { state: 'pending', message: 'pending task scheduling', error: '' })
  t.same(task.endpoint, endpoint)
  t.same(
    task.networks.map(({ addresses }) => addresses[0]),
    ['10.0.0.3/24', '10.0.1.3/24', '10.0.2.3/24'],
  )
  t.same(task.networks[1]!.aliases, ['www'])
})

t.test('dnsrr has no VIP; a service may change its mind', async (t) => {
  const { world } = await allocating(t)
  await world.add('networks', networkObject('front'), networkObject('back'))
  await world.add(
    'services',
    serviceObject('web', { ...on('front'), EndpointSpec: { Mode: 'dnsrr' } }),
  )
  await world.run(300)
  t.same(world.get('services', 'web').endpoint, {
    spec: { Mode: 'dnsrr' },
    ports: [],
    virtualIps: [],
  })
  const become = async (spec: Partial<ServiceSpec>) => {
    await world.change('services', 'web', (web) => ({ ...web, spec: { ...web.spec, ...spec } }))
    await world.run(300)
    return world.get('services', 'web').endpoint
  }
  const vip = await become({ EndpointSpec: { Mode: 'vip', Ports: [port] } })
  t.equal(vip.virtualIps.length, 2, 'one on the ingress network, as Swarm shows it')
  const more = await become(on('front', 'back'))
  t.same(more.virtualIps.slice(0, 2), vip.virtualIps, 'what it has it keeps')
  t.same(more.ports, vip.ports)
  const none = await become({ EndpointSpec: {} })
  t.equal(none.virtualIps.length, 2)
  t.same(none.ports, [])
  const [again] = (await become({ EndpointSpec: { Ports: [port] } })).ports
  t.equal(again!.PublishedPort, 30_001, 'a port given back is not given at once')
})

t.test('an address is free when its task is over, not before', async (t) => {
  const { world, allocator } = await allocating(t)
  const IPAM = { Config: [{ Subnet: '10.7.0.0/29' }] }
  await world.add('networks', networkObject('small', { IPAM }))
  const Networks = [{ Target: 'small' }]
  const spec = taskSpec({ Networks })
  await world.add('services', serviceObject('web', { ...on('small') }))
  await world.run(200)
  // One VIP, four tasks; the gateway has the first address.
  const ids = ['t1', 't2', 't3', 't4', 't5', 't6']
  await world.add('tasks', ...ids.map((id) => fresh(id, { spec })))
  await world.run(300)
  const states = () => ids.map((id) => world.get('tasks', id).status.state)
  t.same(states(), ['pending', 'pending', 'pending', 'pending', 'new', 'new'])
  t.equal(
    world.get('tasks', 't5').status.error,
    'no IPv4 address is left on network small (10.7.0.0/29)',
  )
  t.equal(allocator.counters.waiting, 2)
  t.equal(allocator.counters.addressesFreeMin, 0)
  t.ok(allocator.counters.refused >= 2)
  await world.change('tasks', 't2', (task) => ({ ...task, desiredState: 'shutdown' }))
  await world.run(300)
  t.equal(world.get('tasks', 't5').status.state, 'new', 'it may still run')
  const freed = world.get('tasks', 't2').networks[0]!.addresses
  await world.change('tasks', 't2', ended)
  await world.run(300)
  t.match(world.get('tasks', 't5'), { status: { state: 'pending', error: '' } })
  t.same(world.get('tasks', 't5').networks[0]!.addresses, freed)
  await world.update((tx) => tx.remove('tasks', 't1'))
  await world.run(300)
  t.equal(world.get('tasks', 't6').status.state, 'pending')
})

t.test('ports of mode "host": an ingress address, but none to wait for', async (t) => {
  const { world } = await allocating(t)
  await world.run(300)
  const ingress = world.all('networks').find(({ spec }) => spec.Ingress === true)!
  const Ports = [{ ...port, PublishMode: 'host', PublishedPort: 8080 }] as const
  await world.add('services', serviceObject('web', { EndpointSpec: { Ports } }))
  await world.add('tasks', fresh('t1', { serviceId: 'web' }))
  await world.run(300)
  const { networks } = world.get('tasks', 't1')
  t.match(networks, [{ networkId: ingress.id, forHostPorts: true }])
  t.equal(networks.length, 1)
  t.same(world.get('services', 'web').endpoint.virtualIps, [], 'no VIP there')
  await world.change('networks', ingress.id, (one) => ({ ...one, pendingDelete: true }))
  await world.add('tasks', fresh('t2', { serviceId: 'web' }))
  await world.run(300)
  t.match(world.get('tasks', 't2'), { status: { state: 'pending' }, networks: [] })
})

t.test('two services want one port: the second waits and says so', async (t) => {
  const { world } = await allocating(t)
  const Ports = [{ ...port, PublishedPort: 8080 }]
  await world.add('services', serviceObject('web', { EndpointSpec: { Ports } }))
  await world.run(200)
  await world.add('services', serviceObject('www', { EndpointSpec: { Ports } }))
  await world.add('tasks', fresh('t1', { serviceId: 'www' }))
  await world.run(300)
  t.match(world.get('tasks', 't1').status, {
    state: 'new',
    error: "port '8080' is already in use by service 'web' (web) as an ingress port",
  })
  await world.update((tx) => tx.remove('services', 'web'))
  await world.run(300)
  t.match(world.get('tasks', 't1').status, { state: 'pending', error: '' })
})

t.test('a network that cannot be made: its tasks say why, until it can', async (t) => {
  const { world } = await allocating(t)
  const IPAM = { Config: [{ Subnet: '10.7.0.0/24' }] }
  await world.add('networks', networkObject('one', { IPAM }))
  await world.run(100)
  await world.add('networks', networkObject('two', { IPAM }))
  await world.add('services', serviceObject('web', on('two')))
  await world.add('tasks', fresh('t1', { spec: on('two').TaskTemplate! }))
  await world.run(300)
  t.match(world.get('tasks', 't1').status.error, /subnet 10.7.0.0\/24 overlaps/)
  await world.update((tx) => tx.remove('networks', 'one'))
  await world.run(300)
  t.equal(world.get('tasks', 't1').status.state, 'pending')
})

t.test('a network that is not there; networks of the engine', async (t) => {
  const { world } = await allocating(t)
  const spec = (Target: string) => taskSpec({ Networks: [{ Target }] })
  await world.add('services', serviceObject('web', on('gone')), serviceObject('hosted', on('host')))
  await world.add('tasks', fresh('t1', { spec: spec('gone') }))
  await world.add('tasks', fresh('t2', { serviceId: 'hosted', spec: spec('host') }))
  await world.add('tasks', fresh('t3', { serviceId: '', specVersion: null, spec: spec('gone') }))
  await world.run(300)
  t.equal(world.get('tasks', 't1').status.error, 'network gone not found')
  t.equal(world.get('tasks', 't3').status.error, 'network gone not found')
  t.match(world.get('tasks', 't2'), { status: { state: 'pending' }, networks: [] })
  await world.add('networks', networkObject('gone'))
  await world.run(300)
  t.equal(world.get('tasks', 't3').status.state, 'pending', 'an attachment')
})

t.test('removed: a service when its tasks cannot run, a network after it', async (t) => {
  const { world } = await allocating(t)
  await world.add('nodes', nodeObject('n1'))
  await world.add('networks', networkObject('front'))
  await world.add('services', serviceObject('web', on('front')))
  await world.run(200)
  const status = { ...taskObject('x').status, state: 'running' } as const
  await world.add('tasks', taskObject('t1', { nodeId: 'n1', status }))
  const remove = { pendingDelete: true } as const
  await world.change('services', 'web', (web) => ({ ...web, ...remove }))
  await world.change('networks', 'front', (front) => ({ ...front, ...remove }))
  await world.run(300)
  t.equal(world.all('services').length, 1)
  await world.add('services', serviceObject('web2', { Name: 'web' }))
  await world.change('tasks', 't1', (task) => ({ ...task, desiredState: 'remove' }))
  await world.run(300)
  t.equal(world.all('services').length, 2, 'the task still runs')
  await world.change('nodes', 'n1', (node) => ({
    ...node,
    status: { ...node.status, state: 'down' },
  }))
  await world.run(300)
  t.same(
    world.all('services').map(({ id }) => id),
    ['web2'],
  )
  t.same(
    world.all('networks').map(({ spec }) => spec.Name),
    ['ingress'],
  )
})

t.test('a removed network: a node that is down does not keep its subnet', async (t) => {
  const { world } = await allocating(t)
  await world.add('nodes', nodeObject('n1'))
  const IPAM = { Config: [{ Subnet: '10.77.0.0/24' }] }
  await world.add('networks', networkObject('old', { Name: 'front', IPAM }))
  await world.run(200)
  const status = { ...taskObject('x').status, state: 'running' } as const
  const networks = [{ networkId: 'old', addresses: ['10.77.0.2/24'], aliases: [] }]
  const task = taskObject('t1', { nodeId: 'n1', status, networks, desiredState: 'remove' })
  await world.add('tasks', task)
  await world.change('networks', 'old', (old) => ({ ...old, pendingDelete: true }))
  await world.add('networks', networkObject('new', { Name: 'front', IPAM }))
  await world.run(300)
  t.equal(world.get('networks', 'new').allocation, null, 'somebody is on the old one')
  await world.change('nodes', 'n1', (node) => ({
    ...node,
    status: { ...node.status, state: 'down' },
  }))
  await world.run(300)
  t.notOk(world.all('networks').some(({ id }) => id === 'old'))
  t.equal(world.get('networks', 'new').allocation?.subnets[0]?.subnet, '10.77.0.0/24')
  const said: string[] = []
  const log = sinkLogger((_, message) => said.push(message), 'warn')
  world.context.store.view((tx) => new AllocatorState(tx, tx.cluster()!, log))
  t.same(said, [], 'the next leader finds nothing odd')
})

/** Everything that is given out, as text: all must differ. */
function givenOut(world: LoopWorld): string[] {
  const services = world.all('services')
  const tasks = world.all('tasks').filter(({ desiredState }) => desiredState !== 'shutdown')
  return [
    ...services.flatMap(({ endpoint }) =>
      endpoint.virtualIps.map((v) => `${v.networkId} ${v.address}`),
    ),
    ...tasks.flatMap(({ networks }) =>
      networks.flatMap((n) => n.addresses.map((address) => `${n.networkId} ${address}`)),
    ),
    ...services.flatMap(({ endpoint }) =>
      endpoint.ports.map((p) => `${p.Protocol}/${p.PublishedPort}`),
    ),
    ...world
      .all('networks')
      .flatMap(({ allocation }) => [
        `vni ${allocation?.vni}`,
        ...(allocation?.subnets ?? []).map(({ subnet }) => subnet),
      ]),
  ]
}

/** Random changes to `world`, as users, agents and leaders make them. */
function changesTo(world: LoopWorld, random: Prng): (() => Promise<unknown>)[] {
  let count = 0
  const pick = <O>(of: readonly O[]): O | undefined => of[random.below(Math.max(1, of.length))]
  return [
    () => {
      const config = random.below(3) === 0 ? [{ Subnet: `10.0.${random.below(8)}.0/28` }] : []
      const spec = { IPAM: { Config: config }, EnableIPv6: random.below(2) === 0 }
      return world.add('networks', networkObject(`net${count++}`, spec))
    },
    () => {
      const network = pick(world.all('networks').filter(({ spec }) => spec.Ingress !== true))
      const Ports =
        random.below(2) === 0 ? [port] : [{ ...port, PublishedPort: 80 + random.below(3) }]
      const spec = network === undefined ? {} : on(network.id)
      return world.add(
        'services',
        serviceObject(`s${count++}`, {
          ...spec,
          EndpointSpec: random.below(3) === 0 ? {} : { Ports },
        }),
      )
    },
    () => {
      const service = pick(world.all('services'))
      if (service === undefined) return Promise.resolve()
      const spec = service.spec.TaskTemplate
      return world.add('tasks', fresh(`t${count++}`, { serviceId: service.id, spec }))
    },
    () => {
      const task = pick(world.all('tasks').filter(({ status }) => status.state === 'pending'))
      if (task === undefined) return Promise.resolve()
      return world.update((tx) => {
        const now = tx.get('tasks', task.id)
        if (now !== undefined) tx.update('tasks', ended(now))
      })
    },
    () => {
      const task = pick(world.all('tasks'))
      if (task === undefined) return Promise.resolve()
      return world.update((tx) => {
        if (tx.get('tasks', task.id) !== undefined) tx.remove('tasks', task.id)
      })
    },
    () => {
      const service = pick(world.all('services'))
      if (service === undefined) return Promise.resolve()
      return world.change('services', service.id, (s) => ({
        ...s,
        spec: { ...s.spec, EndpointSpec: { Ports: [port, port].slice(random.below(3)) } },
      }))
    },
    () => {
      world.stop()
      world.start(new Allocator(world.context))
      return Promise.resolve()
    },
  ]
}

t.test('whatever happens, nothing is given twice', async (t) => {
  for (let seed = 1; seed <= 15; seed++) {
    const random = prng(seed)
    const world = new LoopWorld(seed)
    await world.add('clusters', clusterObject({ subnetSize: 28 }))
    world.start(new Allocator(world.context))
    const actions = changesTo(world, random)
    for (let i = 0; i < 120; i++) {
      // Several at once, so that plans are overtaken.
      await Promise.all([0, 1, 2].map(() => actions[random.below(actions.length)]!()))
      if (random.below(3) > 0) await world.run(random.below(60), 7)
      const all = givenOut(world).filter((what) => what !== 'vni undefined')
      t.equal(new Set(all).size, all.length, `seed ${seed}, step ${i}`)
      if (new Set(all).size !== all.length) {
        t.comment(all.filter((what, at) => all.indexOf(what) !== at).join(', '))
        break
      }
    }
    world.stop()
  }
})
