// Goal: a rollback to what is not there any more is refused, before a task is stopped for it.
// Method: a service whose previous spec has a secret, a config, a network and a port of its own;
// one after the other goes to somebody else, or goes.

import t, { type Test } from 'tap'
import { FakeNode, TestApi } from './testing/fake-node.ts'

const RPC = 'rpc error: code ='
const FILE = { Name: 'x', UID: '0', GID: '0', Mode: 292 }

async function start(t: Test) {
  const api = await TestApi.start(new FakeNode())
  t.teardown(() => api.close())
  await api.init()
  const update = async (query: string, body: unknown) => {
    const { Version } = (await api.get('/services/web')).body
    const path = `/services/web/update?version=${Version.Index}${query}`
    const { status, body: answer } = await api.post(path, body)
    return [status, answer.message ?? '']
  }
  return { api, update }
}

const plain = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'busybox' } } }
const withSpec = (container: object, more: object = {}) => ({
  ...plain,
  TaskTemplate: { ContainerSpec: { Image: 'busybox', ...container } },
  ...more,
})

t.test('secrets and configs', async (t) => {
  for (const [noun, key] of [
    ['secret', 'Secret'],
    ['config', 'Config'],
  ] as const) {
    const { api, update } = await start(t)
    const { ID } = (await api.post(`/${noun}s/create`, { Name: 's1', Data: 'eA==' })).body
    const reference = { File: FILE, [`${key}ID`]: ID, [`${key}Name`]: 's1' }
    await api.post('/services/create', withSpec({ [`${key}s`]: [reference] }))
    t.same(await update('', plain), [200, ''])
    t.equal((await api.call('DELETE', `/${noun}s/s1`)).status, 204)
    t.same(await update('&rollback=previous', plain), [
      400,
      `${RPC} InvalidArgument desc = ${noun} not found: s1`,
    ])
    t.notOk((await api.get('/services/web')).body.UpdateStatus)
  }
})

t.test('networks', async (t) => {
  const { api, update } = await start(t)
  const { Id } = (await api.post('/networks/create', { Name: 'front', Driver: 'overlay' })).body
  const onFront = { ...plain, TaskTemplate: { ...plain.TaskTemplate, Networks: [{ Target: Id }] } }
  await api.post('/services/create', onFront)
  t.same(await update('', plain), [200, ''])
  t.equal((await api.call('DELETE', '/networks/front')).status, 204)
  t.same(await update('&rollback=previous', plain), [500, `network ${Id} not found`])
})

t.test('ports', async (t) => {
  const { api, update } = await start(t)
  const EndpointSpec = { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] }
  await api.post('/services/create', withSpec({}, { EndpointSpec }))
  t.same(await update('', plain), [200, ''])
  t.same(await update('&rollback=previous', plain), [200, ''], 'nobody has it')
  t.same(await update('', plain), [200, ''])
  const { ID } = (await api.post('/services/create', { ...plain, Name: 'b', EndpointSpec })).body
  t.same(await update('&rollback=previous', plain), [
    400,
    `${RPC} InvalidArgument desc = port '8080' is already in use by service 'b' (${ID}) ` +
      'as an ingress port',
  ])
})
