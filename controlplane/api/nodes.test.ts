// Goal: /nodes and /events: shapes, filters and the guards of managers. Method: a real listener
// over a made-up node; nodes are put into its store.

import t, { type Test } from 'tap'
import { FakeNode, newNode, TestApi } from './testing/fake-node.ts'

async function start(t: Test): Promise<{ node: FakeNode; api: TestApi; id: string }> {
  const node = new FakeNode()
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  return { node, api, id: await api.init() }
}

t.test('list and inspect', async (t) => {
  const { api, node, id } = await start(t)
  const { body } = await api.get('/v1.41/nodes/vm')
  t.equal(body.ID, id)
  t.match(body, {
    Spec: { Labels: {}, Role: 'manager', Availability: 'active' },
    Status: { State: 'ready', Addr: '127.0.0.1' },
    ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '127.0.0.1:2377' },
    Description: {
      Hostname: 'vm',
      Platform: { Architecture: 'x86_64', OS: 'linux' },
      Engine: { EngineVersion: '0.1.0', Plugins: [{ Type: 'Network', Name: 'overlay' }] },
    },
  })
  await node.store.update((tx) => {
    tx.create('nodes', newNode('abc1', { hostname: 'w1' }))
    tx.create('nodes', newNode('abc2', { hostname: 'w2' }))
    tx.create('nodes', newNode('abc3', { hostname: 'w2' }))
  })
  const names = async (filters: unknown) => {
    const answer = await api.get(`/nodes?filters=${encodeURIComponent(JSON.stringify(filters))}`)
    return answer.body.map(({ ID }: { ID: string }) => ID)
  }
  t.same(await names({ role: { worker: true } }), ['abc1', 'abc2', 'abc3'])
  t.same(await names({ role: ['manager'] }), [id])
  t.same(await names({ name: ['w'], id: ['abc2'] }), ['abc2'])
  t.same(await names({ membership: ['pending'] }), [])
  t.same((await api.get('/nodes/abc')).body, { message: 'node abc is ambiguous (3 matches found)' })
  t.same((await api.get('/nodes/w2')).body, { message: 'node w2 is ambiguous (2 matches found)' })
  t.equal((await api.get('/nodes/abc1')).body.ID, 'abc1')
  t.same((await api.get('/nodes/nope')).body, { message: 'node nope not found' })
})

t.test('filters that are wrong', async (t) => {
  const { api } = await start(t)
  const ask = async (path: string) => {
    const { status, body } = await api.get(path)
    return [status, body.message]
  }
  t.same(await ask('/v1.41/nodes?filters={"foo":["x"]}'), [400, "Invalid filter 'foo'"])
  t.same(await ask('/v1.44/nodes?filters={"foo":["x"]}'), [400, "invalid filter 'foo'"])
  t.same(await ask('/v1.41/nodes?filters={"role":["boss"]}'), [500, "Invalid role filter: 'boss'"])
  t.same(await ask('/v1.41/nodes?filters=xx'), [
    500,
    "invalid character 'x' looking for beginning of value",
  ])
})

t.test('update', async (t) => {
  const { api, id } = await start(t)
  const { Version } = (await api.get(`/nodes/${id}`)).body
  const at = `version=${Version.Index}`
  const post = async (query: string, body: unknown) => {
    const answer = await api.post(`/nodes/vm/update?${query}`, body)
    return [answer.status, answer.body?.message]
  }
  t.same(await post(at, { Role: 'boss', Availability: 'active' }), [400, 'invalid Role: "boss"'])
  t.same(await post('', { Role: 'manager', Availability: 'active' }), [
    400,
    'invalid node version \'\': strconv.ParseUint: parsing "": invalid syntax',
  ])
  t.same(await post('version=1000', { Role: 'manager', Availability: 'active' }), [
    500,
    'rpc error: code = Unknown desc = update out of sequence',
  ])
  t.same(await post(at, { Role: 'worker', Availability: 'active' }), [
    400,
    'rpc error: code = FailedPrecondition desc = ' +
      'attempting to demote the last manager of the swarm',
  ])
  const wanted = { Labels: { zone: 'a' }, Role: 'manager', Availability: 'drain' }
  t.same(await post(at, wanted), [200, undefined])
  t.same((await api.get(`/nodes/${id}`)).body.Spec, wanted)
})

t.test('quorum guards a demotion', async (t) => {
  const { api, node } = await start(t)
  await node.store.update((tx) => {
    tx.create('nodes', newNode('m2', { isManager: true }))
    const lost = newNode('m3', { isManager: true })
    tx.create('nodes', { ...lost, manager: { ...lost.manager!, reachability: 'unreachable' } })
  })
  const { Version, Spec } = (await api.get('/nodes/m2')).body
  const demoted = { ...Spec, Role: 'worker' }
  const refused = await api.post(`/nodes/m2/update?version=${Version.Index}`, demoted)
  t.equal(refused.status, 400)
  t.match(refused.body.message, /this would result in a loss of quorum$/)
  const lost = (await api.get('/nodes/m3')).body
  const taken = await api.post(`/nodes/m3/update?version=${lost.Version.Index}`, demoted)
  t.equal(taken.status, 200, 'the one that is lost may go')
})

t.test('removal', async (t) => {
  const { api, node, id } = await start(t)
  const manager = await api.call('DELETE', '/nodes/vm?force=1')
  t.equal(manager.status, 400)
  t.equal(
    manager.body.message,
    `rpc error: code = FailedPrecondition desc = node ${id} is a cluster manager and is a member ` +
      'of the raft cluster. It must be demoted to worker before removal',
  )
  await node.store.update((tx) => tx.create('nodes', newNode('w1')))
  const alive = await api.call('DELETE', '/nodes/w1')
  t.match(alive.body.message, /node w1 is not down and can't be removed$/)
  t.equal((await api.call('DELETE', '/nodes/w1?force=1')).status, 200)
  t.equal((await api.get('/nodes/w1')).status, 404)
  const { removedNodes } = node.store.view((tx) => tx.cluster()!)
  t.ok(removedNodes.w1!.forgetMs > Date.now(), 'its certificate is refused from now on')
})

t.test('events: of old and of now', async (t) => {
  const { api, node } = await start(t)
  const since = Math.floor(Date.now() / 1000) - 10
  await node.store.update((tx) => {
    tx.create('secrets', { id: 's1', spec: { Name: 'one', Labels: { a: 'b' } } })
    tx.create('nodes', newNode('w1', { hostname: 'w1', state: 'down' }))
  })
  await node.store.update((tx) => {
    const down = tx.get('nodes', 'w1')!
    tx.update('nodes', { ...down, status: { ...down.status, state: 'ready' } })
  })
  const until = Math.floor(Date.now() / 1000)
  await node.store.update((tx) => tx.remove('secrets', 's1'))
  const read = async (query: string) => {
    const { text } = await api.get(`/events?since=${since}&until=${until + 1}&${query}`)
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }
  const events = await read('')
  t.match(
    events.find(({ Type }) => Type === 'secret'),
    {
      Type: 'secret',
      Action: 'create',
      Actor: { ID: 's1', Attributes: { name: 'one' } },
      scope: 'swarm',
    },
  )
  const update = events.find(({ Type, Action }) => Type === 'node' && Action === 'update')
  t.same(update.Actor.Attributes, { name: 'w1', 'state.new': 'ready', 'state.old': 'down' })
  const filter = (value: unknown) => `filters=${encodeURIComponent(JSON.stringify(value))}`
  t.equal((await read(filter({ type: ['secret'], event: ['remove'] }))).length, 1)
  t.equal((await read(filter({ label: ['a=b'] }))).length, 2)
  t.equal((await read(filter({ node: { w1: true } }))).length, 2)
  t.equal((await read(filter({ scope: ['local'] }))).length, 0)
})
