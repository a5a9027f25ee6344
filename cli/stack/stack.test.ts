// Goal: a compose file becomes what the docker CLI makes of it, and what is wrong in one is told
// with line and column. Method: the stock docker CLI deploys the same file to a server that only
// listens, and its requests are compared with ours; tables of faults, durations, sizes and
// variables.

// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of compose files

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { convertStack, type Stack } from './convert.ts'
import { interpolate } from './interpolate.ts'
import { durationNs, nanoCpus, sizeBytes } from './units.ts'
import { ComposeError, YamlFile } from './yaml-reader.ts'

const COMPOSE = `
version: "3.13"
x-env: &env
  A: "1"
  B: two
services:
  web:
    image: nginx:\${TAG:-1.27}
    command: nginx -g 'daemon off;' "a b"
    environment: {<<: *env, C: "$$x", EMPTY: "", NOBODY_HAS_IT: null}
    ports: ["8080:80", "9000-9001:9000-9001/udp", {target: 443, published: 8443, mode: host}]
    networks: {front: {aliases: [www]}, back: {}}
    configs: [motd, {source: motd, target: /etc/m, uid: "3", mode: 0440}]
    secrets: [pw]
    volumes: ["data:/data:ro", "/srv:/srv:rslave", {type: tmpfs, target: /t, tmpfs: {size: 1000}}]
    healthcheck: {test: curl localhost, interval: 1m30s, timeout: 5s, retries: 4, start_period: 10s}
    labels: {l1: v1}
    hostname: "h-{{.Task.Slot}}"
    extra_hosts: ["db:10.0.0.9"]
    dns: [10.0.0.53]
    stop_grace_period: 20s
    stop_signal: SIGQUIT
    user: "33:33"
    working_dir: /srv
    read_only: true
    init: true
    cap_add: [NET_ADMIN]
    sysctls: {net.core.somaxconn: 1024}
    ulimits: {nofile: {soft: 100, hard: 200}, nproc: 50}
    logging: {driver: json-file, options: {max-size: 1m}}
    deploy:
      replicas: 3
      labels: [a=b]
      endpoint_mode: vip
      update_config:
        {parallelism: 2, delay: 1s, order: start-first, failure_action: rollback, monitor: 2s,
        max_failure_ratio: 0.3}
      rollback_config: {parallelism: 0}
      restart_policy: {condition: on-failure, delay: 2s, max_attempts: 3, window: 1m}
      placement:
        constraints: [node.role == manager]
        preferences: [{spread: node.labels.zone}]
        max_replicas_per_node: 2
      resources:
        limits: {cpus: "0.5", memory: 64M, pids: 10}
        reservations: {cpus: "0.25", memory: 32m}
  job:
    image: busybox
    entrypoint: ["/bin/sh", "-c"]
    deploy: {mode: replicated-job, replicas: 4}
  every:
    image: busybox
    restart: always
    deploy: {mode: global}
networks:
  front: {driver: overlay, attachable: true, driver_opts: {encrypted: "true"}, labels: {n: l}}
  back: {internal: true, ipam: {driver: default, config: [{subnet: 10.50.0.0/24}]}}
  unused: {}
volumes:
  data: {labels: {v: l}}
secrets:
  pw: {file: ./pw.txt}
configs:
  motd: {file: ./motd.txt, name: "motd-1"}
`

/** Goes over COMPOSE. */
const OVERRIDE = `
version: "3.13"
x-more: &more {order: start-first}
services:
  web:
    image: nginx:1.28
    command: nginx -t
    environment: [A=three, D=four]
    ports: ["8080:8000", "8081:81"]
    networks: [third]
    volumes: ["/other:/srv", "/new:/new"]
    deploy:
      replicas: 7
      labels: {tier: back}
      update_config: *more
      placement: {constraints: ["node.labels.x == y"]}
    healthcheck: {retries: 9}
    ulimits: {nofile: 10}
    logging: {driver: syslog, options: {a: b}}
    dns: [9.9.9.9]
    labels: [more=labels]
    extra_hosts: ["other:10.9.9.9"]
  extra:
    image: busybox
networks:
  front: {labels: {over: "1"}}
  third: {attachable: true}
configs:
  motd: {file: ./motd.txt, name: "motd-2"}
`

const files: Readonly<Record<string, string>> = { './pw.txt': 'hush', './motd.txt': 'hi' }

function convert(texts: string | readonly string[], directory = '/stack'): Stack {
  const documents = [texts].flat().map((text, n) => new YamlFile(FILE_NAMES[n]!, text, {}))
  return convertStack(documents, {
    namespace: 'st',
    directory,
    readFile: (path) => {
      const found = files[path]
      if (found === undefined) throw new Error(`open ${path}: no such file or directory`)
      return Buffer.from(found)
    },
  })
}

function problems(texts: string | readonly string[]): string[] {
  try {
    convert(texts)
  } catch (error) {
    if (error instanceof ComposeError) return error.message.split('\n')
    throw error
  }
  return []
}

const FILE_NAMES = ['compose.yaml', 'over.yaml']

type Json = Record<string, unknown>

/** A server that takes a stack and keeps what it was sent, by path and name. */
async function listener(socket: string): Promise<{ bodies: Map<string, Json>; close(): void }> {
  const bodies = new Map<string, Json>()
  const answer = (request: IncomingMessage, response: ServerResponse, text: string): void => {
    const url = (request.url ?? '').replace(/^\/v[\d.]+/, '').replace(/\?.*$/, '')
    const send = (status: number, value: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json', 'api-version': '1.50' })
      response.end(JSON.stringify(value))
    }
    if (url === '/_ping') return send(200, 'OK')
    if (url === '/info') return send(200, { Swarm: { ControlAvailable: true } })
    if (request.method === 'POST') {
      const body = JSON.parse(text) as Json
      bodies.set(`${url} ${body.Name}`, body)
      return send(201, { ID: 'id', Id: 'id' })
    }
    if (/^\/(secrets|configs)\/./.test(url)) return send(404, { message: 'no such thing' })
    if (url === '/secrets') return send(200, [{ ID: 'id', Spec: { Name: 'st_pw' } }])
    if (url === '/configs')
      return send(
        200,
        ['1', '2'].map((n) => ({ ID: 'id', Spec: { Name: `motd-${n}` } })),
      )
    send(200, [])
  }
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => answer(request, response, text))
  })
  await new Promise<void>((done) => server.listen(socket, done))
  return { bodies, close: () => server.close() }
}

/** Without what says nothing, and with lists whose order is free in order. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
    .map(([key, member]) => [key, plain(member)] as const)
    .filter(([, member]) => {
      if (member === null || member === undefined || member === '' || member === false) return false
      return typeof member !== 'object' || Object.keys(member as object).length > 0
    })
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries)
}

/** Ids that the CLI has looked up, and image digests, are not in a compose file. */
function comparable(spec: Json): unknown {
  const copy = JSON.parse(JSON.stringify(spec)) as {
    TaskTemplate?: { ContainerSpec?: Record<string, unknown[]>; Networks?: { Target: string }[] }
  }
  const container = copy.TaskTemplate?.ContainerSpec
  const fileOf = (reference: unknown): string => (reference as { File: Json }).File.Name as string
  container?.Configs?.sort((a, b) => (fileOf(a) < fileOf(b) ? -1 : 1))
  for (const key of ['Secrets', 'Configs']) {
    for (const reference of (container?.[key] ?? []) as Json[]) {
      delete reference.SecretID
      delete reference.ConfigID
    }
  }
  copy.TaskTemplate?.Networks?.sort((a, b) => (a.Target < b.Target ? -1 : 1))
  ;(container?.Mounts as { Target: string }[] | undefined)?.sort((a, b) =>
    a.Target < b.Target ? -1 : 1,
  )
  ;(container?.Ulimits as { Name: string }[] | undefined)?.sort((a, b) =>
    a.Name < b.Name ? -1 : 1,
  )
  return plain(copy)
}

/** Why the docker CLI cannot be asked: those before 26 read YAML 1.1 and an older schema. */
function whyNot(): string | false {
  const help = spawnSync('docker', ['stack', 'deploy', '--help'], { encoding: 'utf8' })
  if (help.status !== 0) return 'the docker CLI is not installed'
  return help.stdout.includes('--detach') ? false : 'the docker CLI is older than version 26'
}

const skip = whyNot()

// Of two uses of one config the docker CLI forgets the first when it merges files.
const ONE_USE = COMPOSE.replace('[motd, {source: motd', '[{source: motd')

for (const texts of [[COMPOSE], [ONE_USE, OVERRIDE]]) {
  const what = `${texts.length} compose file${texts.length > 1 ? 's' : ''} as the docker CLI has it`
  t.test(what, { skip, timeout: 60_000 }, (t) => asTheCli(t, texts))
}

async function asTheCli(t: Test, texts: readonly string[]): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weft-stack-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  for (const [n, text] of texts.entries()) writeFileSync(join(directory, FILE_NAMES[n]!), text)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
  const socket = join(directory, 's')
  const server = await listener(socket)
  t.teardown(() => server.close())
  const named = texts.flatMap((_, n) => ['-c', FILE_NAMES[n]!])
  const words = ['stack', 'deploy', '--resolve-image', 'never', '--detach', ...named]
  const child = spawn('docker', ['-H', `unix://${socket}`, ...words, 'st'], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let complaints = ''
  child.stderr.on('data', (chunk) => {
    complaints += chunk
  })
  const status = await new Promise((ended) => child.on('close', ended))
  t.equal(status, 0, complaints)
  const stack = convert(texts, directory)
  const pairs: readonly (readonly [string, Stack['services']])[] = [
    ['/networks/create', stack.networks],
    ['/secrets/create', stack.secrets],
    ['/configs/create', stack.configs],
    ['/services/create', stack.services],
  ]
  let count = 0
  for (const [path, objects] of pairs) {
    for (const { name, spec } of objects) {
      const theirs = server.bodies.get(`${path} ${name}`)
      t.ok(theirs, `${path} ${name}`)
      if (theirs !== undefined) t.same(comparable(spec), comparable(theirs), name)
      count++
    }
  }
  t.equal(server.bodies.size, count, 'nothing more, nothing less')
  for (const warning of stack.warnings) t.ok(complaints.includes(warning), warning)
}

t.test('faults are told with their place', async (t) => {
  const rows: readonly (readonly [string, RegExp])[] = [
    [
      'services:\n  web:\n    image: a\n    prots: []',
      /^compose\.yaml:4:5: services\.web\.prots: Add/,
    ],
    [
      'services:\n  web: {image: a, ports: ["80:x"]}',
      /:2:27: services\.web\.ports\[0\]: invalid port/,
    ],
    ['services:\n  web: {}', /no image specified/],
    ['services:\n  web: {image: a, networks: [nope]}', /undefined network "nope"/],
    ['services:\n  web: {image: a, secrets: [nope]}', /undefined secret "nope"/],
    ['services:\n  web: {image: a, volumes: ["nope:/x"]}', /undefined volume "nope"/],
    ['services:\n  web: {image: a, deploy: {replicas: many}}', /replicas: must be an integer/],
    ['services:\n  web: {image: a, stop_grace_period: 5 apples}', /invalid duration "5 apples"/],
    ['services:\n  web: {image: a, deploy: {mode: some}}', /must be one of replicated, global/],
    ['services:\n  web: {image: a}\nsecrets:\n  s: {file: ./no}', /no such file/],
    ['services:\n  web: {image: "${X:?is needed}"}', /required variable X is missing.*is needed/],
    ['services:\n  web: {image: "a$"}', /Invalid interpolation format/],
    ['services:\n web:\n   image: a\n  bad: b', /^compose\.yaml:\d+:\d+: /],
    [
      'version: "2"\nservices: {web: {image: a}}',
      /:1:10: version: unsupported Compose file version/,
    ],
    ['', /must be a mapping/],
    ['services: {web: {image: a, command: "echo \'x"}}', /quotation mark/],
  ]
  for (const [text, message] of rows) t.match(problems(text).join('\n'), message, text)
  const two = problems('services:\n  a: {image: x, tty: maybe}\n  b: {image: y, init: maybe}')
  t.equal(two.length, 2, 'all of them at once')
})

t.test('a later file goes over an earlier one', async (t) => {
  const web = (text: string): string => `services:\n  web:\n    ${text}`
  const first = web('{image: a, healthcheck: {test: [CMD, a], retries: 3}}')
  const of = (...texts: string[]): Json => {
    const { TaskTemplate } = convert(texts).services[0]!.spec as { TaskTemplate: Json }
    return TaskTemplate.ContainerSpec as Json
  }
  const check = of(web('{image: a, healthcheck: {test: [CMD, a], retries: 3}}'), web('{tty: true}'))
  t.match(check, { Healthcheck: { Test: ['CMD', 'a'], Retries: 3 }, TTY: true })
  const other = of(
    web('{image: a, healthcheck: {test: [CMD, a], retries: 3}}'),
    web('{image: b, healthcheck: {test: [CMD, b]}}'),
  )
  t.same(other.Healthcheck, { Test: ['CMD', 'b'], Retries: 3 }, 'a check is not two joined')
  t.equal(other.Image, 'b:latest')
  t.equal(of(web('{image: a}'), web('{image: null}')).Image, 'a:latest', 'null says nothing')
  const env = of(
    web('{image: a, environment: [A=1, B=2, C]}'),
    web('{environment: {B: 3, D: null}}'),
  )
  t.same(env.Env, ['A=1', 'B=3', 'C', 'D'], 'a name alone takes the variable away')
  t.match(problems([first, web('{prots: []}')]).join('\n'), /^over\.yaml:3:13: .*prots/m)
  t.match(problems([first, 'services: [']).join('\n'), /^over\.yaml:1:\d+: /m)
  t.match(problems([first, '[]']).join('\n'), /^over\.yaml:1:1: Top-level object/m)
  const versions = ['3.8', '3.9'].map((version) => `version: "${version}"\n${first}`)
  t.match(problems(versions).join('\n'), /^over\.yaml:1:10: version: version mismatched/m)
  const anchored = 'x-a: &a {k: v}\nservices: {web: {image: a, labels: *a}}'
  const over = 'x-b: &b {k: w, m: n}\nservices: {web: {labels: *b}}'
  t.match(of(anchored, over).Labels, { k: 'w', m: 'n' }, 'aliases of each file')
})

t.test('a document that would expand without end is refused', async (t) => {
  const levels = Array.from({ length: 9 }, (_, n) => {
    const below = n === 0 ? '"x"' : `*l${n - 1}`
    return `l${n}: &l${n} [${Array.from({ length: 9 }, () => below).join(', ')}]`
  })
  t.match(problems(levels.join('\n')).join('\n'), /[Ee]xcessive alias/)
})

t.test('durations, sizes and shares', async (t) => {
  t.equal(durationNs('1h30m'), 5400e9)
  t.equal(durationNs('1.5s'), 1.5e9)
  t.equal(durationNs('250ms'), 250e6)
  t.equal(durationNs('0'), 0)
  for (const text of ['', '5', 's', '1x', '-1s']) t.equal(durationNs(text), undefined, text)
  t.equal(sizeBytes('64M'), 64 * 1024 ** 2)
  t.equal(sizeBytes('1.5gb'), 1.5 * 1024 ** 3)
  t.equal(sizeBytes('10'), 10)
  t.equal(sizeBytes('big'), undefined)
  t.equal(nanoCpus('0.25'), 250_000_000)
  t.equal(nanoCpus('-1'), undefined)
})

t.test('variables', async (t) => {
  const environment = { A: 'x', EMPTY: '' }
  const rows: readonly (readonly [string, string])[] = [
    ['$A ${A} $$A', 'x x $A'],
    ['${NONE:-d} ${EMPTY:-d} ${EMPTY-d} ${NONE-d}', 'd d  d'],
    ['${A:+y}${NONE+y}', 'y'],
    ['${NONE:-${A}}', 'x'],
    ['$NONE.', '.'],
  ]
  for (const [text, result] of rows) t.equal(interpolate(text, environment), result, text)
})
