// Goal: `docker service ls` counts what runs. Method: tasks put into the store of a made-up node,
// on nodes that are up and that are down.

import t from 'tap'
import { taskObject } from '../store/testing/objects.ts'
import { FakeNode, newNode, TestApi } from './testing/fake-node.ts'

t.test('what a node that is down said last does not count', async (t) => {
  const node = new FakeNode()
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  await api.init()
  const spec = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'busybox' } } }
  const Mode = { Replicated: { Replicas: 2 } }
  const { ID: serviceId } = (await api.post('/services/create', { ...spec, Mode })).body
  const status = { ...taskObject('x').status, state: 'running' } as const
  await node.store.update((tx) => {
    tx.create('nodes', newNode('w1'))
    tx.create('nodes', newNode('w2', { state: 'down' }))
    const on = (nodeId: string, more: object) => taskObject(nodeId, { serviceId, nodeId, ...more })
    tx.create('tasks', on('w1', { status }))
    tx.create('tasks', on('w2', { status, desiredState: 'shutdown' }))
    tx.create('tasks', { ...on('w1', { status, slot: 2 }), id: 'w1b' })
  })
  const counts = async () => (await api.get('/services?status=true')).body[0].ServiceStatus
  t.same(await counts(), { RunningTasks: 2, DesiredTasks: 2, CompletedTasks: 0 })
})
