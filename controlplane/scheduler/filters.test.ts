// Goal: each filter turns away the nodes it should, and says so in Swarm's words. Method: one task
// and a few nodes per filter; the explanation names which filter it was.

import t from 'tap'
import type { Unversioned } from '../store/contract.ts'
import type { NodeObject, TaskObject } from '../store/objects.ts'
import type { PortConfig, TaskSpec } from '../store/specs.ts'
import { nodeObject, stored, taskObject, taskSpec } from '../store/testing/objects.ts'
import { FILTERS, Pipeline } from './filters.ts'
import { NodeInfo } from './node-info.ts'

const info = (id: string, changes: Partial<Unversioned<NodeObject>> = {}) =>
  new NodeInfo(stored(nodeObject(id, changes)))
const task = (spec: Partial<TaskSpec>, changes: Partial<Unversioned<TaskObject>> = {}) =>
  stored(taskObject('t', { spec: taskSpec(spec), ...changes }))
const description = nodeObject('x').description!

t.test('words of each filter, for one node and for more', async (t) => {
  t.same(
    FILTERS.map(({ explain }) => [explain(1), explain(3)]),
    [
      ['1 node not available for new tasks', '3 nodes not available for new tasks'],
      ['insufficient resources on 1 node', 'insufficient resources on 3 nodes'],
      ['missing plugin on 1 node', 'missing plugin on 3 nodes'],
      [
        'scheduling constraints not satisfied on 1 node',
        'scheduling constraints not satisfied on 3 nodes',
      ],
      ['unsupported platform on 1 node', 'unsupported platform on 3 nodes'],
      ['host-mode port already in use on 1 node', 'host-mode port already in use on 3 nodes'],
      ['max replicas per node limit exceed', 'max replicas per node limit exceed'],
    ],
  )
})

t.test('ready', async (t) => {
  const { accepts } = pipelineOf(task({}))
  const spec = { Labels: {}, Role: 'worker' } as const
  t.ok(accepts(info('a')))
  for (const state of ['down', 'unknown', 'disconnected'] as const) {
    t.notOk(accepts(info('a', { status: { state, message: '', address: '' } })), state)
  }
  for (const Availability of ['pause', 'drain'] as const) {
    t.notOk(accepts(info('a', { spec: { ...spec, Availability } })), Availability)
  }
})

t.test('resources', async (t) => {
  const half = task({ Resources: { Reservations: { NanoCPUs: 2e9, MemoryBytes: 2 ** 30 } } })
  const node = info('a')
  const { accepts } = pipelineOf(half)
  t.ok(accepts(node))
  node.add({ ...half, id: 't1' })
  t.ok(accepts(node), 'exactly full')
  node.add({ ...half, id: 't2' })
  t.notOk(accepts(node))
  node.add({ ...half, id: 't2' })
  node.remove('t1')
  t.ok(accepts(node), 'counted once')
  t.notOk(accepts(info('b', { description: null })), 'a node that has not told')
  t.ok(pipelineOf(task({ Resources: { Limits: { NanoCPUs: 99e9 } } })).accepts(node), 'limits')
})

t.test('generic resources', async (t) => {
  const gpu = (Value: string) => ({ NamedResourceSpec: { Kind: 'gpu', Value } })
  const ssd = (Value: number) => ({ DiscreteResourceSpec: { Kind: 'ssd', Value } })
  const genericResources = [gpu('a'), gpu('b'), ssd(3)]
  const node = info('a', { description: { ...description, genericResources } })
  const wants = (count: number) => [{ DiscreteResourceSpec: { Kind: 'gpu', Value: count } }, ssd(1)]
  const asking = (count: number) =>
    task({ Resources: { Reservations: { GenericResources: wants(count) } } })
  t.notOk(pipelineOf(asking(3)).accepts(node))
  const first = node.place(asking(1))
  t.same(first.assignedGenericResources, [gpu('a'), ssd(1)])
  t.notOk(pipelineOf(asking(2)).accepts(node))
  const second = node.place({ ...asking(1), id: 'second' })
  t.same(second.assignedGenericResources, [gpu('b'), ssd(1)])
  t.notOk(pipelineOf(asking(1)).accepts(node))
  node.remove('second')
  t.same(node.place({ ...asking(1), id: 'third' }).assignedGenericResources, [gpu('b'), ssd(1)])
})

t.test('plugins', async (t) => {
  const volume = (Name: string) =>
    task({
      ContainerSpec: {
        Image: 'i',
        Mounts: [{ Type: 'volume', Target: '/x', VolumeOptions: { DriverConfig: { Name } } }],
      },
    })
  const engine = {
    version: '',
    labels: {},
    plugins: [
      { type: 'Volume', name: 'nfs:latest' },
      { type: 'Log', name: 'gelf' },
    ],
  }
  const node = info('a', { description: { ...description, engine } })
  t.ok(pipelineOf(volume('local')).accepts(info('b')))
  t.ok(pipelineOf(volume('nfs')).accepts(node))
  t.notOk(pipelineOf(volume('nfs')).accepts(info('b')))
  t.notOk(pipelineOf(volume('gelf')).accepts(node), 'of another type')
  const logging = (Name: string) => task({}, { logDriver: { Name } })
  t.ok(pipelineOf(logging('gelf')).accepts(node))
  t.ok(pipelineOf(logging('none')).accepts(info('b')))
  t.notOk(pipelineOf(logging('gelf')).accepts(info('b')))
})

t.test('platforms', async (t) => {
  const on = (OS: string, Architecture: string) =>
    pipelineOf(task({ Placement: { Platforms: [{ OS, Architecture }] } })).accepts(info('a'))
  t.ok(on('linux', 'amd64'))
  t.ok(on('', ''))
  t.notOk(on('linux', 'arm64'))
  t.notOk(on('windows', 'amd64'))
})

t.test('host ports and replicas per node', async (t) => {
  const port: PortConfig = {
    Protocol: 'tcp',
    TargetPort: 80,
    PublishedPort: 8080,
    PublishMode: 'host',
  }
  const publishing = (changes: Partial<PortConfig>) =>
    task(
      {},
      { endpoint: { spec: { Ports: [{ ...port, ...changes }] }, ports: [], virtualIps: [] } },
    )
  const node = info('a')
  node.add({ ...publishing({}), id: 't1' })
  t.notOk(pipelineOf(publishing({})).accepts(node))
  t.ok(pipelineOf(publishing({ Protocol: 'udp' })).accepts(node))
  t.ok(pipelineOf(publishing({ PublishedPort: 0 })).accepts(node), 'the engine chooses')
  t.ok(pipelineOf(publishing({ PublishMode: 'ingress' })).accepts(node))
  t.notOk(pipelineOf(task({ Placement: { MaxReplicas: 1 } })).accepts(node))
  t.ok(pipelineOf(task({ Placement: { MaxReplicas: 2 } })).accepts(node))
})

t.test('a constraint that cannot be read is met nowhere', async (t) => {
  t.notOk(pipelineOf(task({ Placement: { Constraints: ['node.id'] } })).accepts(info('a')))
})

t.test('an explanation: the first filter of each node, most nodes first', async (t) => {
  const wanting = task({
    Resources: { Reservations: { NanoCPUs: 3e9 } },
    Placement: { Constraints: ['node.labels.zone==west'] },
  })
  const full = info('full')
  full.add({ ...wanting, id: 'other' })
  const nodes = [full, ...['a', 'b', 'c', 'd', 'e'].map((id) => info(id))]
  t.equal(
    new Pipeline(wanting).explain(nodes),
    'scheduling constraints not satisfied on 5 nodes; insufficient resources on 1 node',
  )
  t.equal(new Pipeline(wanting).explain([]), '')
})

function pipelineOf(task: TaskObject): { accepts: (info: NodeInfo) => boolean } {
  const pipeline = new Pipeline(task)
  return { accepts: (info) => pipeline.accepts(info) }
}
