// Goal: a command line of `service create` or `service update` asks the API for what the docker
// CLI's asks for. Method: both run against a server that only listens, and what they send is
// compared, for a table of command lines; a table of refusals.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runNoun } from './command.ts'
import { SERVICE_COMMANDS } from './service-commands.ts'

type Json = Record<string, unknown>

/** The service that updates find. */
const CURRENT: Json = {
  Name: 'web',
  Labels: { a: '1', b: '2' },
  TaskTemplate: {
    ContainerSpec: {
      Image: 'nginx:1.26',
      Args: ['-x'],
      Env: ['A=1', 'B=2'],
      Labels: { l: 'v' },
      Mounts: [
        { Type: 'bind', Source: '/a', Target: '/a' },
        { Type: 'volume', Source: 'v', Target: '/v' },
      ],
      DNSConfig: { Nameservers: ['10.0.0.53'], Search: ['example'] },
      Hosts: ['10.0.0.9 db'],
      Groups: ['g1'],
      CapabilityAdd: ['CAP_NET_ADMIN'],
      CapabilityDrop: ['CAP_CHOWN'],
      Ulimits: [{ Name: 'nofile', Soft: 10, Hard: 20 }],
      Sysctls: { 'net.x': '1' },
      Secrets: [
        {
          SecretID: 'id-old',
          SecretName: 'old',
          File: { Name: 'old', UID: '0', GID: '0', Mode: 292 },
        },
      ],
    },
    Resources: { Limits: { MemoryBytes: 67108864 }, Reservations: {} },
    Placement: {
      Constraints: ['node.role==worker'],
      Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.a' } }],
    },
    Networks: [{ Target: 'id-old' }],
    ForceUpdate: 3,
  },
  Mode: { Replicated: { Replicas: 2 } },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [
      { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
      { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'host' },
    ],
  },
}

const CREATES: readonly string[] = [
  'create nginx',
  'create --name web registry:5000/a/b sh -c "echo --name x"',
  'create --replicas 3 --replicas-max-per-node 2 nginx:1.27',
  'create --mode global nginx',
  'create --mode replicated-job --replicas 5 --max-concurrent 2 busybox true',
  'create --mode replicated-job --replicas 4 busybox true',
  'create --mode replicated-job busybox true',
  'create --mode global-job busybox true',
  'create -e A=1 -e B=2 -e A=3 -e EMPTY= --env-file ENV nginx',
  'create -l a=b -l c --label d=e=f --container-label x=y --sysctl net.a=1 nginx',
  'create --constraint node.role==worker --constraint node.labels.x!=y nginx',
  'create --placement-pref spread=node.labels.zone --placement-pref spread=node.id nginx',
  'create -p 8080:80 -p 90:90/udp -p 70 nginx',
  'create -p 8000-8002:80-82 --publish published=443,target=8443,mode=host,protocol=udp nginx',
  'create --endpoint-mode dnsrr -p target=80,published=80,mode=host nginx',
  'create --network n1 --network name=n2,alias=a,alias=b,driver-opt=k=v nginx',
  'create --secret s1 --secret source=s2,target=/x,uid=1,gid=2,mode=0400 nginx',
  'create --config c1 --config source=c2,target=/etc/c,mode=440 nginx',
  'create --mount type=bind,source=/a,target=/b,readonly,bind-propagation=rslave nginx',
  'create --mount src=v,dst=/v,volume-nocopy,volume-label=a=b,volume-driver=d,volume-opt=o=1 nginx',
  'create --mount type=tmpfs,target=/t,tmpfs-size=10m,tmpfs-mode=1770 nginx',
  'create --mount type=volume,"volume-opt=o=a,b",target=/v nginx',
  'create --dns 10.0.0.1 --dns-option ndots:1 --dns-search a.example --host db:10.0.0.9 nginx',
  'create --hostname h-{{.Task.Slot}} -w /srv -u 33:33 --group g --group 5 -t --read-only nginx',
  'create --init --stop-signal SIGQUIT --stop-grace-period 1m30s --oom-score-adj -5 nginx',
  'create --init=false --entrypoint "sh -c" nginx a b',
  'create --limit-cpu 0.5 --limit-memory 64M --limit-pids 10 nginx',
  'create --reserve-cpu 1.25 --reserve-memory 1g --generic-resource gpu=2 nginx',
  'create --ulimit nofile=10:20 --ulimit nproc=5 --cap-add net_admin --cap-drop CAP_CHOWN nginx',
  'create --health-cmd "curl -f x" --health-interval 5s --health-retries 3 nginx',
  'create --health-timeout 2s nginx',
  'create --health-start-period 1m --health-start-interval 1s nginx',
  'create --no-healthcheck nginx',
  'create --restart-condition on-failure --restart-max-attempts 3 nginx',
  'create --restart-delay 1s --restart-window 1m nginx',
  'create --update-parallelism 0 --update-delay 1s --update-order start-first nginx',
  'create --update-monitor 2s --update-failure-action rollback --update-max-failure-ratio .3 nginx',
  'create --rollback-parallelism 2 --rollback-order start-first --rollback-monitor 1s nginx',
  'create --log-driver json-file --log-opt max-size=1m nginx',
]

const UPDATES: readonly string[] = [
  'update --image nginx:1.27 web',
  'update --args "-c x y" web',
  'update --force web',
  'update --replicas 5 web',
  'update --env-add A=9 --env-add C=3 --env-rm B web',
  'update --label-add a=9 --label-rm b --container-label-add m=n --container-label-rm l web',
  'update --mount-add type=volume,source=w,target=/v --mount-rm /a web',
  'update --publish-add 81:81 --publish-rm 80 web',
  'update --publish-add 8080:80 --publish-rm published=53,target=53,protocol=udp,mode=host web',
  'update --constraint-add node.id==x --constraint-rm node.role==worker web',
  'update --placement-pref-add spread=node.id --placement-pref-rm spread=node.labels.a web',
  'update --network-add n1 --network-rm old web',
  'update --network-add name=n1,alias=z web',
  'update --secret-add source=s1,target=t --secret-rm old web',
  'update --config-add c1 web',
  'update --dns-add 1.1.1.1 --dns-rm 10.0.0.53 --dns-search-rm example web',
  'update --host-add x:10.0.0.1 --host-rm db:10.0.0.9 web',
  'update --group-add g2 --group-rm g1 web',
  'update --ulimit-add nofile=5 --ulimit-add nproc=2 web',
  'update --ulimit-rm nofile web',
  'update --sysctl-add net.y=2 --sysctl-rm net.x web',
  'update --cap-add SYS_TIME --cap-drop NET_ADMIN web',
  'update --cap-add CHOWN web',
  'update --cap-add RESET --cap-drop RESET web',
  'update --limit-memory 0 --limit-cpu 2 --reserve-memory 32m web',
  'update --generic-resource-add gpu=1 web',
  'update --update-parallelism 2 --update-order start-first web',
  'update --rollback-delay 1s web',
  'update --restart-condition none --restart-delay 0s web',
  'update --health-cmd true --health-interval 1s web',
  'update --no-healthcheck web',
  'update --health-cmd "" web',
  'update --stop-grace-period 5s --stop-signal 9 --tty --hostname h --user u --workdir /w web',
  'update --read-only --init --replicas-max-per-node 1 --entrypoint "a b" --oom-score-adj 7 web',
  'update --log-driver syslog --log-opt a=b web',
  'update --endpoint-mode dnsrr --publish-rm 80 web',
  'update --rollback web',
  'rollback web',
  'scale web=7',
]

interface Sent {
  readonly path: string
  readonly query: string
  readonly body: Json
}

/** A server that has whatever is asked for, and keeps what it is sent. */
async function listener(socket: string): Promise<{ sent: Sent[]; close(): void }> {
  const sent: Sent[] = []
  const answer = (request: IncomingMessage, response: ServerResponse, text: string): void => {
    const url = new URL((request.url ?? '').replace(/^\/v[\d.]+/, ''), 'http://x')
    const send = (status: number, value: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json', 'api-version': '1.50' })
      response.end(JSON.stringify(value))
    }
    const [, noun = '', name] = url.pathname.split('/')
    if (request.method === 'POST') {
      const query = [...url.searchParams].map((pair) => pair.join('=')).sort()
      sent.push({ path: url.pathname, query: query.join('&'), body: JSON.parse(text) as Json })
      return send(200, { ID: 'web' })
    }
    if (noun === '_ping') return send(200, 'OK')
    if (noun === 'services') return send(200, { ID: 'web', Version: { Index: 7 }, Spec: CURRENT })
    if (noun === 'networks') {
      const id = name!.startsWith('id-') ? name : `id-${name}`
      return send(200, { Id: id, Name: name, Scope: 'swarm' })
    }
    const filters = JSON.parse(url.searchParams.get('filters') ?? '{}') as Record<string, object>
    const names = Object.keys(filters.name ?? {})
    send(
      200,
      names.map((one) => ({ ID: `id-${one}`, Spec: { Name: one } })),
    )
  }
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => answer(request, response, text))
  })
  await new Promise<void>((done) => server.listen(socket, done))
  return { sent, close: () => server.close() }
}

/** Members that the docker CLI leaves out where they are 0. */
const OMITTED_ZEROS: readonly string[] = ['MemoryBytes', 'NanoCPUs', 'Pids']

/** Without what says nothing; lists in order, but for command lines. */
function plain(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => plain(item))
    if (['Args', 'Command', 'Test', 'Preferences'].includes(name)) return items
    return items.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
  }
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
    .map(([key, item]) => [key, plain(item, key)] as const)
    .filter(([key, item]) => {
      if (item === null || item === undefined || item === '') return false
      if (item === false && key !== 'Init') return false
      if (item === 0 && OMITTED_ZEROS.includes(key)) return false
      return typeof item !== 'object' || Object.keys(item as object).length > 0 || key === 'Global'
    })
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries)
}

/** Words of a row, with "quoted words" in one. */
function wordsOf(row: string): string[] {
  return [...row.matchAll(/(?:[^\s"]|"[^"]*")+/g)].map(([word]) =>
    word.startsWith('"') ? word.slice(1, -1) : word,
  )
}

async function weft(socket: string, words: readonly string[]): Promise<string> {
  let said = ''
  const terminal = {
    out: () => {},
    err: (words: string) => {
      said += words
    },
    readLine: async () => '',
  }
  const [verb, ...rest] = words
  const status = await runNoun(
    'service',
    '',
    SERVICE_COMMANDS,
    [verb!, '-H', socket, ...rest],
    terminal,
  )
  return status === 0 ? '' : said || 'failed'
}

async function docker(socket: string, words: readonly string[]): Promise<string> {
  const child = spawn('docker', ['-H', `unix://${socket}`, 'service', ...words], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += chunk
  })
  const status = await new Promise((ended) => child.on('close', ended))
  return status === 0 ? '' : said || 'failed'
}

const skip =
  spawnSync('docker', ['--version']).status === 0 ? false : 'the docker CLI is not installed'

t.test('as the docker CLI asks', { skip, timeout: 300_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-service-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const socket = join(folder, 's')
  const environment = join(folder, 'env')
  writeFileSync(environment, '# none\nF=1\n\n  G=two words\nNOT_SET_ANYWHERE\n')
  const { sent, close } = await listener(socket)
  t.teardown(close)
  for (const row of [...CREATES, ...UPDATES]) {
    const [verb, ...rest] = wordsOf(row).map((word) => (word === 'ENV' ? environment : word))
    const extra = verb === 'create' || verb === 'update' ? ['--no-resolve-image'] : []
    const words = row.includes('--rollback web')
      ? [verb!, '-d', ...rest]
      : [verb!, '-d', ...extra, ...rest]
    sent.length = 0
    t.equal(await docker(socket, words), '', `docker ${row}`)
    t.equal(await weft(socket, words), '', `weft ${row}`)
    const [theirs, ours] = sent
    t.same({ ...ours, body: plain(ours?.body) }, { ...theirs, body: plain(theirs?.body) }, row)
  }
})

t.test('what cannot be', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-service-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const socket = join(folder, 's')
  const { sent, close } = await listener(socket)
  t.teardown(close)
  const rows: readonly (readonly [string, RegExp])[] = [
    ['create --mode global --replicas 2 x', /replicas can only be used with replicated/],
    ['create --max-concurrent 2 x', /max-concurrent can only be used with replicated-job/],
    ['create --mode some x', /Unknown mode: some/],
    ['create -p 80:x x', /invalid port specification "80:x"/],
    ['create -p published=80 x', /missing mandatory field "target"/],
    ['create -p target=80,mode=any x', /invalid mode value 'any'/],
    ['create -p 65530-65540:80-90 x', /invalid port/],
    ['create --mount type=bind,target=/a x', /source is required/],
    ['create --mount source=/a x', /target is required/],
    ['create --mount target=/a,color=red x', /unexpected key 'color'/],
    ['create --mount target=/a,bind-propagation=shared x', /cannot mix 'bind-\*' options/],
    ['create --limit-memory big x', /invalid size: 'big'/],
    ['create --limit-cpu -1 x', /not a number of CPUs/],
    ['create --update-delay 5 x', /invalid duration/],
    ['create --secret source=a,color=b x', /invalid field in secret request: color/],
    ['create --ulimit nofile=20:10 x', /soft limit must be less/],
    ['create --generic-resource gpu=a x', /named generic resources/],
    ['create --host nope x', /bad format for add-host/],
    ['create --no-healthcheck --health-cmd x x', /conflicts with --health-/],
    ['create --env-file /nowhere/at/all x', /no such file/],
    ['create --entrypoint "a \'b" x', /invalid command line string/],
    ['update --rollback --force web', /may not be combined with --rollback/],
    ['update --replicas -1 web', /invalid argument "-1"/],
    ['scale web', /must have the form SERVICE=REPLICAS/],
    ['scale web=many', /^web: invalid replicas value "many"\n$/],
  ]
  for (const [row, words] of rows) t.match(await weft(socket, wordsOf(row)), words, row)
  t.same(sent, [], 'nothing was asked for')
})
