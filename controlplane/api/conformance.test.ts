// Goal: answers have the members that a Docker Engine's have, of the same types, and no others.
// Method: shapes of recorded answers (testing/recorded-shapes.txt) are held against ours to the
// same commands. Arrays and objects may be null, as they may there.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { fakeAgents } from './testing/fake-agents.ts'
import { FakeNode, TestApi } from './testing/fake-node.ts'

type Shape =
  | { readonly kind: 'string' | 'number' | 'bool' | 'null' | 'any' }
  | { readonly kind: 'list' | 'map'; readonly of: Shape }
  | { readonly kind: 'object'; readonly members: readonly Member[] }

interface Member {
  readonly name: string
  readonly isOptional: boolean
  readonly shape: Shape
}

/** "METHOD /path shape", where a shape is a word, "list of shape", "map of shape", or lines of
 * "name: shape" in braces. */
function readShapes(text: string): Map<string, Shape> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  let at = 0
  const parse = (words: string): Shape => {
    const nested = /^(list|map) of (.*)$/.exec(words)
    if (nested !== null) return { kind: nested[1] as 'list' | 'map', of: parse(nested[2]!) }
    if (words === '{}') return { kind: 'object', members: [] }
    if (words !== '{') return { kind: words as 'string' }
    const members: Member[] = []
    for (;;) {
      const line = lines[at]!.trim()
      at += 1
      if (line === '}') return { kind: 'object', members }
      const member = /^([^:?]+)(\??): (.*)$/.exec(line)!
      members.push({ name: member[1]!, isOptional: member[2] === '?', shape: parse(member[3]!) })
    }
  }
  const shapes = new Map<string, Shape>()
  while (at < lines.length) {
    const [method, path, ...words] = lines[at]!.split(' ')
    at += 1
    shapes.set(`${method} ${path}`, parse(words.join(' ')))
  }
  return shapes
}

/** What is wrong with `value`, place by place. */
function differences(shape: Shape, value: unknown, at: string): string[] {
  if (shape.kind === 'any') return []
  if (shape.kind === 'list') {
    if (value === null) return []
    if (!Array.isArray(value)) return [`${at}: no list`]
    return value.flatMap((item) => differences(shape.of, item, at))
  }
  if (shape.kind === 'map') {
    if (value === null) return []
    if (typeof value !== 'object') return [`${at}: no map`]
    return Object.values(value).flatMap((item) => differences(shape.of, item, `${at}.*`))
  }
  if (shape.kind === 'object') return memberDifferences(shape.members, value, at)
  const type = value === null ? 'null' : typeof value === 'boolean' ? 'bool' : typeof value
  return type === shape.kind ? [] : [`${at}: ${type}, not ${shape.kind}`]
}

function memberDifferences(members: readonly Member[], value: unknown, at: string): string[] {
  if (value === null) return []
  if (typeof value !== 'object' || Array.isArray(value)) return [`${at}: no object`]
  const given = value as Record<string, unknown>
  const extra = Object.keys(given)
    .filter((name) => !members.some((member) => member.name === name))
    .map((name) => `${at}.${name}: not there`)
  const others = members.flatMap(({ name, isOptional, shape }) => {
    if (name in given) return differences(shape, given[name], `${at}.${name}`)
    return isOptional ? [] : [`${at}.${name}: missing`]
  })
  return [...extra, ...others]
}

const shapes = readShapes(
  readFileSync(new URL('./testing/recorded-shapes.txt', import.meta.url), 'utf8'),
)

t.test('the comparison sees differences', async (t) => {
  const shape = readShapes('GET /x {\n  A: string\n  B?: list of {\n    C: number\n  }\n}')
  const compare = (value: unknown) => differences(shape.get('GET /x')!, value, 'x')
  t.same(compare({ A: 'a', B: [{ C: 1 }] }), [])
  t.same(compare({ A: 1, B: [{ C: '1' }, {}], D: 0 }), [
    'x.D: not there',
    'x.A: number, not string',
    'x.B.C: string, not number',
    'x.B.C: missing',
  ])
})

/** As the docker CLI sends it. */
function serviceBody(network: string, secret: string, config: string) {
  const File = { Name: 'x', UID: '0', GID: '0', Mode: 292 }
  return {
    Name: 'web',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: {
        Image: 'busybox:latest',
        Args: ['sleep', '1000'],
        Init: false,
        DNSConfig: {},
        Secrets: [{ File, SecretID: secret, SecretName: 's1' }],
        Configs: [{ File, ConfigID: config, ConfigName: 'c1' }],
      },
      Resources: { Limits: {}, Reservations: {} },
      Placement: {},
      Networks: [{ Target: network }],
      ForceUpdate: 0,
    },
    Mode: { Replicated: { Replicas: 2 } },
    UpdateConfig: {
      Parallelism: 1,
      FailureAction: 'pause',
      Monitor: 1e9,
      MaxFailureRatio: 0,
      Order: 'stop-first',
    },
    EndpointSpec: {
      Mode: 'vip',
      Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8088, PublishMode: 'ingress' }],
    },
  }
}

t.test('every recorded answer', async (t) => {
  const node = new FakeNode()
  t.teardown(fakeAgents(node))
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  const seen = new Set<string>()
  const check = async (method: string, path: string, pattern: string, body?: unknown) => {
    const answer = await api.call(method, `/v1.41${path}`, body)
    t.ok(answer.status < 300, `${method} ${path}: ${answer.text}`)
    const lines = pattern === '/events' ? answer.text.trim().split('\n') : null
    const value = lines === null ? answer.body : lines.map((line) => JSON.parse(line))
    const shown = pattern === '/info' ? { Swarm: value.Swarm } : value
    t.same(
      differences(shapes.get(`${method} ${pattern}`)!, shown, pattern),
      [],
      `${method} ${path}`,
    )
    seen.add(`${method} ${pattern}`)
    return answer.body
  }
  const init = { ListenAddr: '0.0.0.0:2377' }
  const id = await check('POST', '/swarm/init', '/swarm/init', init)
  await check('GET', `/nodes/${id}`, '/nodes/{}')
  for (const path of ['/nodes', '/swarm', '/swarm/unlockkey', '/info'])
    await check('GET', path, path)
  const blob = { Labels: { a: 'b' }, Data: 'YQ==' }
  const secret = await check('POST', '/secrets/create', '/secrets/create', { Name: 's1', ...blob })
  const config = await check('POST', '/configs/create', '/configs/create', { Name: 'c1', ...blob })
  const overlay = { Name: 'n1', Driver: 'overlay', Attachable: true, Labels: { a: 'b' } }
  const network = await check('POST', '/networks/create', '/networks/create', overlay)
  const body = serviceBody(network.Id, secret.ID, config.ID)
  const { ID } = await check('POST', '/services/create', '/services/create', body)
  const { UpdateConfig: _, ...withoutUpdate } = body
  const more = { Name: 'job', Mode: { GlobalJob: {} }, EndpointSpec: { Mode: 'vip' } }
  const job = { ...withoutUpdate, ...more }
  await check('POST', '/services/create', '/services/create', job)
  const { Version } = await check('GET', `/services/${ID}`, '/services/{}')
  const path = `/services/${ID}/update?version=${Version.Index}`
  await check('POST', path, '/services/{}/update', body)
  await check('GET', `/services/${ID}?insertDefaults=true`, '/services/{}')
  await check('GET', '/services?status=true', '/services')
  const tasks = await check('GET', '/tasks', '/tasks')
  t.ok(tasks.length >= 3, `${tasks.length} tasks`)
  const web = tasks.find(({ ServiceID }: { ServiceID: string }) => ServiceID === ID)
  await check('GET', `/tasks/${web.ID}`, '/tasks/{}')
  for (const noun of ['secrets', 'configs', 'networks']) await check('GET', `/${noun}`, `/${noun}`)
  for (const [noun, name] of [
    ['secrets', 's1'],
    ['configs', 'c1'],
    ['networks', 'n1'],
  ]) {
    await check('GET', `/${noun}/${name}`, `/${noun}/{}`)
  }
  const until = Math.ceil(Date.now() / 1000)
  await check('GET', `/events?since=1&until=${until}`, '/events')
  t.same(
    [...shapes.keys()].filter((key) => !seen.has(key)),
    [],
    'nothing recorded is left',
  )
})
