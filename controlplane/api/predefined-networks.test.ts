// Goal: a service may be on a network that every node has, and then on nothing else. Method:
// requests as clients send them, over a made-up node.

import t from 'tap'
import { FakeNode, TestApi } from './testing/fake-node.ts'

t.test('networks that every node has', async (t) => {
  const api = await TestApi.start(new FakeNode())
  t.teardown(() => api.close())
  await api.init()
  await api.post('/networks/create', { Name: 'front', Driver: 'overlay' })
  t.match((await api.get('/networks/host?scope=swarm')).body, { Id: 'host', Driver: 'host' })
  t.equal((await api.get('/networks/hosts?scope=swarm')).status, 404)
  const published = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishMode: 'host' }] } }
  const on = (Name: string, names: readonly string[], more: object = {}) => {
    const Networks = names.map((Target) => ({ Target }))
    const TaskTemplate = { ContainerSpec: { Image: 'busybox' }, Networks }
    return api.post('/services/create', { Name, TaskTemplate, ...more })
  }
  t.equal((await on('agent', ['host'])).status, 201)
  const { body } = await api.get('/services/agent')
  t.same(body.Spec.TaskTemplate.Networks, [{ Target: 'host' }])
  t.same(body.Endpoint.VirtualIPs ?? [], [])
  t.match((await on('both', ['host', 'front'])).body.message, /cannot be on other networks/)
  t.match((await on('open', ['host'], published)).body.message, /cannot publish ports/)
  t.equal((await on('bridged', ['bridge'], published)).status, 201)
})
