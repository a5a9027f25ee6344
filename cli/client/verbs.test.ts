// Goal: the commands drive a cluster as the docker CLI's do, from the first network to the removed
// stack. Method: a table of command lines against an API whose agents are made up; what they print
// and how they end is compared.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { fakeAgents } from '../../controlplane/api/testing/fake-agents.ts'
import { FakeNode, TestApi } from '../../controlplane/api/testing/fake-node.ts'
import { type Command, runNoun } from './command.ts'
import { CONFIG_COMMANDS, SECRET_COMMANDS } from './file-commands.ts'
import { NETWORK_COMMANDS } from './network-commands.ts'
import { NODE_COMMANDS } from './node-commands.ts'
import { Progress } from './progress.ts'
import { SERVICE_COMMANDS } from './service-commands.ts'
import { frames, sinceSeconds } from './service-logs.ts'
import { STACK_COMMANDS } from './stack-commands.ts'
import { SWARM_COMMANDS } from './swarm-commands.ts'
import { KeptTerminal } from './testing/terminal.ts'

const NOUNS: Readonly<Record<string, readonly Command[]>> = {
  config: CONFIG_COMMANDS,
  network: NETWORK_COMMANDS,
  node: NODE_COMMANDS,
  secret: SECRET_COMMANDS,
  service: SERVICE_COMMANDS,
  stack: STACK_COMMANDS,
  swarm: SWARM_COMMANDS,
}

const COMPOSE = `version: "3.8"
services:
  web:
    image: busybox
    command: sleep 1000
    deploy: {replicas: 2, update_config: {monitor: 50ms}}
    networks: {front: {aliases: [www]}}
    ports: ["8090:80"]
    secrets: [s2]
    configs: [{source: c2, target: /etc/c2}]
  api:
    image: busybox
    networks: [front, back]
    deploy: {update_config: {monitor: 50ms}}
networks: {front: {}, back: {internal: true}}
secrets: {s2: {file: ./secret}}
configs: {c2: {file: ./secret}}
`
const LESS = COMPOSE.replace(/ {2}api:[\s\S]*?(?=networks: \{front: \{\},)/, '')

/** Command line, exit status, and what standard output or error must hold. */
type Step = readonly [line: string, exit: number, shows: RegExp]

const CREATE = 'service create --no-resolve-image --update-monitor 50ms'

const STEPS: readonly Step[] = [
  ['service ls', 1, /This node is not a swarm manager/],
  ['stack deploy -c COMPOSE st', 1, /this node is not a swarm manager/],
  ['swarm init --advertise-addr 127.0.0.1', 0, /weft swarm join --token SWMTKN/],
  ['service ls', 0, /^ID +NAME +MODE +REPLICAS +IMAGE +PORTS\n$/],
  ['secret create s1 FILE', 0, /^[0-9a-z]{25}\n$/],
  ['secret create s1 FILE', 1, /secret s1 already exists/],
  ['secret create s9', 1, /needs a file/],
  ['secret create s9 /nowhere/at/all', 1, /no such file/],
  ['secret ls', 0, /^ID +NAME +DRIVER +CREATED +UPDATED\n[0-9a-z]{25} +s1 +\S/],
  ['secret inspect s1', 0, /"Name": "s1"/],
  ['config create -l a=b c1 FILE', 0, /^[0-9a-z]{25}\n$/],
  ['config inspect --pretty c1', 0, / - a=b[\s\S]*hunter2/],
  ['config ls --format {{.Name}}', 0, /^c1\n$/],
  ['network create --attachable n1', 0, /^[0-9a-z]{25}\n$/],
  ['network create n1', 1, /network with name n1 already exists/],
  ['network create --subnet 10.77.0.0/24 --gateway 10.77.0.1 n2', 0, /^[0-9a-z]{25}\n$/],
  ['network create --gateway 10.77.0.1 n3', 1, /no matching subnet for gateway/],
  ['network create --config-only n3', 1, /for networks of one node/],
  ['network inspect n2', 0, /"Name": "n2"/],
  ['network ls', 0, /n1 +overlay +swarm/],
  [
    `${CREATE} --name web --replicas 2 --network n1 --secret s1 --config c1 -p 8088:80 ` +
      '--constraint node.role==manager --limit-memory 64M busybox sleep 1000',
    0,
    /overall progress: 2 out of 2 tasks\n[\s\S]*verify: Service \S+ converged\n$/,
  ],
  [`${CREATE} -d --name web busybox`, 1, /name conflicts with an existing object/],
  [`${CREATE} -d --network nope busybox`, 1, /network:? nope/i],
  [`${CREATE} -d --secret nope busybox`, 1, /secret not found: nope/],
  [`${CREATE} -d --constraint foo busybox`, 1, /constraint expected one operator/],
  [`${CREATE} -d --name many --replicas 99999999 busybox`, 1, /at most/],
  ['service ls', 0, /web +replicated +2\/2 +busybox:latest +\*:8088->80\/tcp/],
  ['service ls -q', 0, /^[0-9a-z]{12}\n$/],
  ['service ps web', 0, /web\.1 +busybox:latest +vm +Running +Running/],
  ['service ps -q web', 0, /^[0-9a-z]{25}\n[0-9a-z]{25}\n$/],
  ['service ps nope', 1, /nope/],
  ['service scale web=x', 1, /^web: invalid replicas value "x"\n$/],
  ['node ls --format {{.ID}}', 0, /^[0-9a-z]{25}\n$/],
  ['node ls --format json', 0, /"TLSStatus":"Ready","Self":true}\n$/],
  ['node ls', 0, /^ID .*\n[0-9a-z]{25} \* +vm +Ready/],
  ['node inspect --pretty self', 0, /Plugins:\n Network: +overlay\n/],
  ['network ls --format json --filter name=n1', 0, /"IPv4":"true"/],
  ['network ls --format {{.Name', 1, /unclosed action/],
  [`${CREATE} -d --ulimit foo=1 busybox`, 1, /invalid ulimit type: foo/],
  [`${CREATE} -d --dns foo busybox`, 1, /IP address is not correctly formatted: foo/],
  [`${CREATE} -d --host x:1 busybox`, 1, /invalid IP address in add-host: "1"/],
  ['service inspect web', 0, /"Name": "web"/],
  [
    'service inspect --pretty web',
    0,
    /Replicas: 2\n[\s\S]*Constraints: \[node\.role==manager\][\s\S]*Memory: 64MiB[\s\S]*n1/,
  ],
  ['service inspect --format {{.Spec.Name}} web', 0, /^web\n$/],
  ['service inspect nope', 1, /^\[\]\n[\s\S]*nope/],
  ['service update --env-add X=1 web', 0, /^web\n[\s\S]*converged|^web\n/],
  ['service inspect web', 0, /"X=1"/],
  ['service rollback web', 0, /^web\n/],
  ['service inspect --format {{.Spec.TaskTemplate.ContainerSpec.Image}} web', 0, /^busybox/],
  ['service scale web=3', 0, /^web scaled to 3\n/],
  ['service scale web=1 nope=2', 1, /web scaled to 1[\s\S]*nope/],
  ['service scale web=3', 0, /web scaled to 3/],
  ['service ps --filter desired-state=running -q web', 0, /^\S+\n\S+\n\S+\n$/],
  ['service logs web', 0, /^web\.1\.[0-9a-z]{12}@vm {4}\| hello\n$/],
  ['service logs -t --raw --tail 1 web', 0, /^1970-01-01T00:00:00\.000000000Z hello\n$/],
  ['service logs nope', 1, /no such task or service: nope/],
  ['service logs --tail x web', 1, /invalid value for "tail"/],
  ['secret rm s1', 1, /secret 's1' is in use by the following service: web/],
  ['network rm n1', 1, /is in use by service/],
  [
    'service create --no-resolve-image --name job --mode replicated-job --replicas 2 busybox true',
    0,
    /job progress: 2 out of 2 complete[\s\S]*job complete\n$/,
  ],
  [`${CREATE} --name gl --mode global busybox sleep 9`, 0, /verify: [\s\S]*converged/],
  ['service ls --filter mode=replicated-job', 0, /0\/2 \(2\/2 completed\)/],
  ['service scale gl=2', 1, /scale can only be used with replicated/],
  ['node ps self', 0, /gl\.[0-9a-z]+/],
  ['service rm web gl job', 0, /web\ngl\njob/],
  ['service rm nope', 1, /nope/],
  ['secret rm s1', 0, /^s1\n$/],
  ['config rm c1', 0, /^c1\n$/],
  ['network create n4', 0, /./],
  ['network prune -f --filter label=x', 0, /^$/],
  ['network prune -f --filter until=1h', 0, /^$/],
  ['network rm n1 n2', 0, /^n1\nn2\n$/],
  ['network prune -f', 0, /^Deleted Networks:\nn4\n\n$/],
  ['network rm -f n1', 0, /^$/],
  ['stack deploy st', 1, /please specify a Compose file/],
  ['stack deploy -c WRONG st', 1, /wrong\.yml:3:5: services\.web\.prots/],
  ['stack deploy -c COMPOSE a/b', 1, /invalid stack name/],
  [
    'stack deploy --detach=false --resolve-image never -c COMPOSE st',
    0,
    /Creating network st_front[\s\S]*Creating secret st_s2[\s\S]*Creating service st_web/,
  ],
  ['stack services st', 0, /st_web +replicated +2\/2/],
  ['stack services none', 0, /^Nothing found in stack: none\n$/],
  ['stack ls', 0, /^NAME +SERVICES\nst +2\n$/],
  ['stack ps st', 0, /st_api\.1/],
  ['stack ps none', 1, /nothing found in stack: none/],
  ['stack deploy --resolve-image never -c COMPOSE st', 0, /Updating service st_web \(id: \S+\)/],
  [
    'stack deploy --prune --resolve-image never -c LESS -c COMPOSE st',
    0,
    /^Updating service st_web[^\n]*\nUpdating service st_api/,
  ],
  ['stack deploy --prune --resolve-image never -c LESS st', 0, /Removing service st_api/],
  ['stack ls', 0, /^NAME +SERVICES\nst +1\n$/],
  ['stack rm --detach=false st', 0, /Removing service st_web[\s\S]*Removing network st_back/],
  ['stack rm st', 0, /Nothing found in stack: st/],
  ['network ls --filter driver=overlay --filter name=st_ -q', 0, /^$/],
  ['network create --ingress in1', 0, /^[0-9a-z]{25}\n$/],
  ['network rm in1', 1, /^it was not removed\n$/],
]

async function run(
  socket: string,
  [noun, verb, ...rest]: readonly string[],
): Promise<{ exit: number; out: string }> {
  const terminal = new KeptTerminal()
  const args = [verb!, '-H', socket, ...rest]
  const exit = await runNoun(noun!, '', NOUNS[noun!]!, args, terminal)
  return { exit, out: terminal.stdout + terminal.stderr }
}

t.test('help fits a terminal of 80 columns', async (t) => {
  for (const [noun, commands] of Object.entries(NOUNS)) {
    for (const args of [['--help'], ...commands.map(({ name }) => [name, '--help'])]) {
      const terminal = new KeptTerminal()
      t.equal(await runNoun(noun, '', commands, args, terminal), 0)
      const wide = terminal.stdout.split('\n').filter((line) => [...line].length > 80)
      t.strictSame(wide, [], `${noun} ${args.join(' ')}`)
    }
  }
})

t.test('a cluster, driven', { timeout: 300_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-verbs-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const files: Readonly<Record<string, readonly [name: string, text: string]>> = {
    FILE: ['secret', 'hunter2'],
    COMPOSE: ['compose.yml', COMPOSE],
    LESS: ['less.yml', LESS],
    WRONG: ['wrong.yml', 'services:\n  web:\n    prots: []\n    image: a\n'],
  }
  for (const [name, text] of Object.values(files)) writeFileSync(join(folder, name), text)
  const node = new FakeNode()
  t.teardown(fakeAgents(node))
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  for (const [line, exit, shows] of STEPS) {
    if (line.startsWith('service logs')) node.lines = [node.logLine('hello')]
    const words = line
      .split(' ')
      .map((word) => (Object.hasOwn(files, word) ? join(folder, files[word]![0]) : word))
    const ran = await run(api.socketPath, words)
    t.equal(ran.exit, exit, `${line}: ${ran.out}`)
    t.match(ran.out, shows, line)
  }
})

t.test('progress ends as the update does', async (t) => {
  const look = (state: string, message: string, running: number) => ({
    service: {
      ID: 'svc',
      Spec: { Name: 'web', Mode: { Replicated: { Replicas: 1 } } },
      UpdateStatus: { State: state, Message: message },
    },
    tasks: [
      {
        ID: 't',
        ServiceID: 'svc',
        NodeID: 'n',
        Slot: 1,
        CreatedAt: '',
        Spec: {},
        DesiredState: 'running',
        Status: { State: running === 1 ? 'running' : 'starting', Timestamp: '' },
      },
    ],
    nodes: new Set(['n']),
    nowMs: 0,
  })
  t.match(new Progress().step(look('paused', 'why', 0)), { error: 'service update paused: why' })
  t.match(new Progress().step(look('completed', '', 0)), { end: 'over', error: null })
  t.match(new Progress().step(look('rollback_completed', 'done', 0)).error, /rolled back: done/)
  t.match(new Progress(true).step(look('rollback_completed', '', 0)), { end: 'over', error: null })
  t.match(new Progress().step(look('rollback_paused', 'why', 0)).error, /rollback paused: why/)
  const progress = new Progress()
  t.same(progress.step(look('updating', '', 0)).lines, [
    'overall progress: 0 out of 1 tasks',
    '1/1: starting',
  ])
  t.match(progress.step(look('updating', '', 1)).lines.at(-1), /Waiting 5 seconds to verify/)
  t.same(progress.step(look('updating', '', 1)).lines, [], 'nothing is told twice')
  t.equal(progress.step(look('updating', '', 0)).lines.at(-1), 'verify: Detected task failure')
  progress.step(look('updating', '', 1))
  const last = progress.step({ ...look('updating', '', 1), nowMs: 5001 })
  t.same(last, { lines: ['verify: Service svc converged'], end: 'converged', error: null })
  const elsewhere = { ...look('updating', '', 1), nodes: new Set<string>() }
  t.match(new Progress().step(elsewhere).lines, ['overall progress: 0 out of 1 tasks'])
})

t.test('frames of a log', async (t) => {
  const frame = (stream: number, text: string): Buffer => {
    const header = Buffer.alloc(8)
    header[0] = stream
    header.writeUInt32BE(Buffer.byteLength(text), 4)
    return Buffer.concat([header, Buffer.from(text)])
  }
  const read = async (bytes: Buffer, step: number): Promise<string[]> => {
    async function* pieces() {
      for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
    }
    const found: string[] = []
    for await (const { stream, payload } of frames(pieces())) found.push(`${stream}${payload}`)
    return found
  }
  const bytes = Buffer.concat([frame(1, 'one\n'), frame(2, ''), frame(1, 'thrée\n')])
  for (const step of [1, 3, 8, 100]) t.same(await read(bytes, step), ['1one\n', '2', '1thrée\n'])
  await t.rejects(read(bytes.subarray(0, -1), 4), /ends within a line/)
  await t.rejects(read(Buffer.from('what is this?'), 100), /damaged/)
  await t.rejects(read(Buffer.from([1, 0, 0, 0, 255, 255, 255, 255]), 100), /damaged/)
  t.equal(sinceSeconds('10m', 1_000_000_000), '999400.000')
  t.equal(sinceSeconds('2026-01-02T00:00:00Z', 0), '1767312000.000')
  t.equal(sinceSeconds('12.5', 0), '12.5')
  t.throws(() => sinceSeconds('yesterday', 0), /invalid value for "since"/)
})
