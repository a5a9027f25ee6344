// Goal: /swarm, /_ping, /info and who may ask what, in a Docker Engine's words and codes. Method: a
// real listener over a made-up node and a store without Raft.

import t, { type Test } from 'tap'
import { FakeNode, newNode, TestApi } from './testing/fake-node.ts'

async function start(t: Test): Promise<{ node: FakeNode; api: TestApi }> {
  const node = new FakeNode()
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  return { node, api }
}

const NOT_IN_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect ' +
  'this node to swarm and try again.'
const WORKER =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. " +
  'Please run this command on a manager node or promote the current node to a manager.'

t.test('headers, versions and unknown paths', async (t) => {
  const { api } = await start(t)
  const ping = await api.call('HEAD', '/_ping')
  t.equal(ping.status, 200)
  t.match(ping.headers, {
    'api-version': '1.50',
    ostype: 'linux',
    'docker-experimental': 'false',
    'builder-version': '2',
    swarm: 'inactive',
    server: 'Docker/0.1.0 (linux)',
    'content-type': 'text/plain; charset=utf-8',
    'content-length': '0',
  })
  t.equal((await api.get('/v1.41/_ping')).text, 'OK')
  const missing = await api.call('PUT', '/v1.41/services/create', {})
  t.equal(missing.status, 404)
  t.equal(missing.headers['content-type'], 'application/json', 'and no charset')
  t.equal(missing.text, '{"message":"page not found"}\n')
  t.same((await api.get('/v1.99/nodes')).body, {
    message: 'client version 1.99 is too new. Maximum supported API version is 1.50',
  })
  t.match((await api.get('/v1.12/nodes')).body.message, /too old/)
  t.equal((await api.get('/containers/json')).status, 501)
  t.equal((await api.get('/swarm/%zz')).status, 404)
  t.equal((await api.get('/nodes/%zz')).status, 400)
})

t.test('a node that is in no swarm', async (t) => {
  const { api } = await start(t)
  for (const path of ['/nodes', '/swarm', '/swarm/unlockkey', '/nodes/x']) {
    const { status, body } = await api.get(path)
    t.same([status, body.message], [503, NOT_IN_SWARM], path)
  }
  t.same(await words(api.post('/swarm/leave')), [503, 'This node is not part of a swarm'])
  const unlock = api.post('/swarm/unlock', { UnlockKey: 'x' })
  t.same(await words(unlock), [503, NOT_IN_SWARM])
  t.match((await api.get('/info')).body.Swarm, {
    NodeID: '',
    NodeAddr: '',
    LocalNodeState: 'inactive',
    ControlAvailable: false,
    Error: '',
    RemoteManagers: null,
  })
  const join = { ListenAddr: '0.0.0.0', RemoteAddrs: ['127.0.0.1:2377'], JoinToken: 'SWMTKN-1-bad' }
  t.same(await words(api.post('/swarm/join', join)), [500, 'invalid join token'])
  t.equal((await api.post('/swarm/join', { JoinToken: 'x' })).status, 400)
})

t.test('a worker, a manager that prepares, a locked one', async (t) => {
  const { api, node } = await start(t)
  node.state = 'active'
  node.nodeId = 'n1'
  t.same(await words(api.get('/nodes')), [503, WORKER])
  t.equal((await api.get('/_ping')).headers.swarm, 'active/worker')
  node.state = 'pending'
  t.match((await api.get('/nodes')).body.message, /Manager is being prepared/)
  node.state = 'locked'
  t.match((await api.get('/nodes')).body.message, /Swarm is encrypted and needs to be unlocked/)
  t.match((await api.post('/swarm/leave')).body.message, /Swarm is encrypted and locked/)
  t.same(await words(api.post('/swarm/unlock', { UnlockKey: 'x' })), [400, 'invalid key string'])
  const key = `SWMKEY-1-${'A'.repeat(43)}`
  t.equal((await api.post('/swarm/unlock', { UnlockKey: key })).status, 200)
})

t.test('init: defaults, and the answer', async (t) => {
  const { api, node } = await start(t)
  const id = await api.init({ ListenAddr: '0.0.0.0:2377', Spec: { Labels: null }, SubnetSize: 26 })
  t.match(id, /^[0-9a-z]{25}$/)
  const { body: swarm } = await api.get('/v1.41/swarm')
  t.match(swarm, {
    Spec: {
      Name: 'default',
      Labels: {},
      Orchestration: { TaskHistoryRetentionLimit: 5 },
      Raft: {
        SnapshotInterval: 10000,
        KeepOldSnapshots: 0,
        LogEntriesForSlowFollowers: 500,
        ElectionTick: 10,
        HeartbeatTick: 1,
      },
      CAConfig: { NodeCertExpiry: 7776000000000000 },
      TaskDefaults: {},
      EncryptionConfig: { AutoLockManagers: false },
    },
    RootRotationInProgress: false,
    DefaultAddrPool: ['10.0.0.0/8'],
    SubnetSize: 26,
    DataPathPort: 4789,
    TLSInfo: { CertIssuerSubject: 'MBMxETAPBgNVBAMTCHN3YXJtLWNh' },
  })
  t.notMatch(JSON.stringify(swarm), 'secret root key')
  t.match(swarm.JoinTokens.Worker, /^SWMTKN-1-/)
  t.match((await api.post('/swarm/init', {})).body.message, /already part of a swarm/)
  t.match((await api.get('/info')).body.Swarm, {
    NodeID: id,
    ControlAvailable: true,
    Nodes: 1,
    Managers: 1,
    Cluster: { ID: swarm.ID, SubnetSize: 26 },
  })
  t.equal((await api.get('/info')).body.Swarm.Cluster.JoinTokens, undefined)
  t.equal(
    node.store.view((tx) => tx.all('nodes').length),
    1,
  )
})

t.test('init refuses what cannot be', async (t) => {
  const { api, node } = await start(t)
  const bad: readonly (readonly [body: object, message: RegExp, status?: number])[] = [
    [{ DataPathPort: 80 }, /not in valid range \(1024-49151\): 80/],
    [{ DefaultAddrPool: ['10.1.2.3'] }, /invalid CIDR address/, 500],
    [{ DefaultAddrPool: ['10.0.0.0/25'], SubnetSize: 24 }, /too small/, 500],
    [{ DefaultAddrPool: ['10.0.0.0/8', '10.1.0.0/16'] }, /overlaps/],
    [{ SubnetSize: 31 }, /out of range/],
    [{ ListenAddr: 'a b' }, /invalid ListenAddr/],
    [{ ListenAddr: '' }, /invalid ListenAddr "": invalid empty address/],
    [{ Availability: 'lazy' }, /invalid Availability: "lazy"/],
    [{ Spec: { Name: 'foo' } }, /swarm spec must be named "default"/],
    [
      { Spec: { CAConfig: { NodeCertExpiry: 1000 } } },
      /minimum certificate expiry time is: 1h0m0s/,
    ],
  ]
  for (const [body, message, status = 400] of bad) {
    const answer = await api.post('/swarm/init', { ListenAddr: '0.0.0.0', ...body })
    t.equal(answer.status, status)
    t.match(answer.body.message, message)
  }
  t.equal(node.state, 'inactive', 'nothing was done')
})

t.test('update: version, tokens, lock', async (t) => {
  const { api } = await start(t)
  await api.init()
  const before = (await api.get('/swarm')).body
  const spec = { ...before.Spec, Orchestration: { TaskHistoryRetentionLimit: 2 } }
  const at = `version=${before.Version.Index}`
  t.match(
    (await api.post('/swarm/update', spec)).body.message,
    /^invalid swarm version '': strconv/,
  )
  t.same(await words(api.post('/swarm/update?version=999', spec)), [
    500,
    'rpc error: code = Unknown desc = update out of sequence',
  ])
  t.equal((await api.post(`/swarm/update?${at}&rotateWorkerToken=true`, spec)).status, 200)
  const after = (await api.get('/swarm')).body
  t.equal(after.Spec.Orchestration.TaskHistoryRetentionLimit, 2)
  t.not(after.JoinTokens.Worker, before.JoinTokens.Worker)
  t.match(after.JoinTokens.Worker, /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/)
  t.equal(after.JoinTokens.Manager, before.JoinTokens.Manager)
  t.same((await api.get('/swarm/unlockkey')).body, { UnlockKey: '' })
  const locked = { ...after.Spec, EncryptionConfig: { AutoLockManagers: true } }
  await api.post(`/swarm/update?version=${after.Version.Index}`, locked)
  const { UnlockKey } = (await api.get('/swarm/unlockkey')).body
  t.match(UnlockKey, /^SWMKEY-1-[A-Za-z0-9+/]{43}$/)
  const { Version } = (await api.get('/swarm')).body
  await api.post(`/swarm/update?version=${Version.Index}&rotateManagerUnlockKey=true`, locked)
  t.not((await api.get('/swarm/unlockkey')).body.UnlockKey, UnlockKey)
  t.same(await words(api.post('/swarm/unlock', { UnlockKey })), [409, 'swarm is not locked'])
})

t.test('leaving', async (t) => {
  const { api, node } = await start(t)
  await api.init()
  const last =
    'You are attempting to leave the swarm on a node that is participating as a manager. ' +
    'Removing the last manager erases all current state of the swarm. ' +
    'Use `--force` to ignore this message. '
  t.same(await words(api.post('/swarm/leave')), [503, last])
  await node.store.update((tx) => tx.create('nodes', newNode('n2', { isManager: true })))
  t.match(
    (await api.post('/swarm/leave')).body.message,
    /leaves 1 managers out of 2\. Without a Raft quorum/,
  )
  t.equal((await api.post('/swarm/leave?force=1')).status, 200)
  t.equal(node.state, 'inactive')
})

t.test('a follower forwards writes once, and reads by itself', async (t) => {
  const leader = await start(t)
  await leader.api.init()
  const { api, node } = await start(t)
  Object.assign(node, { state: 'active', isManager: true, isLeader: false, nodeId: 'n2' })
  await node.store.update((tx) =>
    tx.create(
      'clusters',
      leader.node.store.view((o) => o.cluster()!),
    ),
  )
  node.leader = (request) => leader.api.api.handleForwarded(request)
  const { Version, Spec } = (await leader.api.get('/swarm')).body
  const body = { ...Spec, Labels: { a: 'b' } }
  const path = `/v1.41/swarm/update?version=${Version.Index}`
  t.equal((await api.post(path, body)).status, 200)
  t.same((await leader.api.get('/swarm')).body.Spec.Labels, { a: 'b' })
  t.equal(node.forwarded.length, 1)
  t.equal((await api.get('/nodes')).status, 200)
  t.equal(node.forwarded.length, 1)
  leader.node.isLeader = false
  const noLeader = await api.post(path, body)
  t.equal(noLeader.status, 500)
  t.match(noLeader.body.message, /The swarm does not have a leader\. It's possible that too few/)
})

async function words(answer: ReturnType<TestApi['get']>): Promise<[number, string]> {
  const { status, body } = await answer
  return [status, body.message]
}
