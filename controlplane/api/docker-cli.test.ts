// Goal: the stock docker CLI drives the cluster, unpatched. Method: each docker command on the PATH
// (there may be several versions) runs a table of commands against an API whose agents are made up
// (testing/fake-agents.ts); what it prints and how it exits is compared. Skipped where there is
// none.

import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import t, { type Test } from 'tap'
import { fakeAgents } from './testing/fake-agents.ts'
import { FakeNode, TestApi } from './testing/fake-node.ts'

const COMMAND_TIMEOUT_MS = 30_000

const COMPOSE = `version: "3.8"
services:
  web:
    image: busybox
    command: sleep 1000
    deploy:
      replicas: 2
      update_config: {parallelism: 1, order: start-first}
      placement: {constraints: ["node.role==manager"]}
    networks: {front: {aliases: [www]}}
    ports: ["8090:80"]
    secrets: [s2]
    configs: [{source: c2, target: /etc/c2}]
    healthcheck: {test: ["CMD", "true"], interval: 5s}
  api:
    image: busybox
    networks: [front, back]
networks: {front: {}, back: {driver_opts: {encrypted: "true"}}}
secrets: {s2: {file: ./secret}}
configs: {c2: {file: ./secret}}
`

/** Command line, exit status, and what standard output or error must hold. */
type Step = readonly [line: string, exit: number, shows: RegExp]

const CREATE = 'service create --no-resolve-image --update-monitor 50ms'

const STEPS: readonly Step[] = [
  ['node ls', 1, /This node is not a swarm manager\. Use "docker swarm init"/],
  ['swarm leave', 1, /This node is not part of a swarm/],
  [
    'swarm init --advertise-addr 127.0.0.1',
    0,
    /docker swarm join --token SWMTKN-1-\S+ 127\.0\.0\.1/,
  ],
  ['swarm init', 1, /This node is already part of a swarm/],
  ['node ls', 0, /vm +Ready +Active +Leader/],
  ['node inspect self --pretty', 0, /Raft Status:\s+Reachable/],
  ['node update --label-add zone=a --availability pause vm', 0, /^vm/],
  ['node ls --filter node.label=zone=a', 0, /Pause/],
  ['node update --availability active vm', 0, /^vm/],
  ['node promote vm', 0, /is already a manager/],
  ['node demote vm', 1, /attempting to demote the last manager of the swarm/],
  ['node rm --force vm', 1, /It must be demoted to worker before removal/],
  ['swarm join-token -q manager', 0, /^SWMTKN-1-/],
  ['swarm join-token --rotate worker', 0, /Successfully rotated worker join token/],
  ['swarm update --task-history-limit 2', 0, /Swarm updated/],
  ['swarm update --autolock', 0, /SWMKEY-1-[A-Za-z0-9+/]{43}/],
  ['swarm unlock-key --rotate -q', 0, /^SWMKEY-1-/],
  ['swarm ca', 0, /BEGIN CERTIFICATE/],
  [
    'info',
    0,
    /Is Manager: true[\s\S]*Task History Retention Limit: 2[\s\S]*Autolock Managers: true/,
  ],
  ['version', 0, /weft/],
  ['secret create s1 FILE', 0, /^[0-9a-z]{25}/],
  ['secret create s1 FILE', 1, /secret s1 already exists/],
  ['config create c1 FILE', 0, /^[0-9a-z]{25}/],
  ['config inspect --pretty c1', 0, /hunter2/],
  ['secret inspect nope', 1, /nope/],
  ['network create -d overlay --attachable n1', 0, /^[0-9a-z]{25}/],
  ['network create -d overlay n1', 1, /network with name n1 already exists/],
  ['network ls', 0, /n1 +overlay +swarm/],
  [
    `${CREATE} --name web --replicas 2 --network n1 --secret s1 --config c1 -p 8088:80 ` +
      '--constraint node.role==manager --limit-memory 64M --health-cmd true busybox sleep 1000',
    0,
    /verify: [\s\S]*converged/,
  ],
  [`${CREATE} -d --name web busybox`, 1, /name conflicts with an existing object/],
  [`${CREATE} -d --name x -p 8088:80 busybox`, 1, /port '8088' is already in use by service 'web'/],
  [`${CREATE} -d --network nope busybox`, 1, /network:? nope/i],
  [`${CREATE} -d --constraint foo busybox`, 1, /constraint expected one operator from ==, !=/],
  ['service ls', 0, /web +replicated +2\/2 +busybox:latest/],
  ['service ps web', 0, /web\.1 +busybox:latest +vm +Running/],
  ['service inspect --pretty web', 0, /Networks: n1/],
  ['service inspect nope', 1, /nope/],
  ['service update --env-add X=1 web', 0, /web/],
  ['service rollback web', 0, /rolled? ?back|converged|rollback/i],
  ['service scale web=3', 0, /web scaled to 3/],
  ['service ps --filter desired-state=running -q web', 0, /^\S+\n\S+\n\S+\n$/],
  ['service logs web', 0, /web\.1\.\S+@vm +\| hello/],
  ['secret rm s1', 1, /secret 's1' is in use by the following service: web/],
  ['network rm n1', 1, /is in use by service/],
  [
    'service create --no-resolve-image --name job --mode replicated-job --replicas 2 busybox true',
    0,
    /job complete/,
  ],
  [`${CREATE} --name gl --mode global busybox sleep 9`, 0, /verify: [\s\S]*converged/],
  [`${CREATE} -d --name hosted --network host busybox sleep 9`, 0, /^\S+$/m],
  ['service inspect --pretty hosted', 0, /Networks: host/],
  ['service rm hosted', 0, /hosted/],
  ['service ls --filter mode=replicated-job', 0, /0\/2 \(2\/2 completed\)/],
  ['service scale gl=2', 1, /scale can only be used with replicated/],
  ['node ps self', 0, /gl\.[0-9a-z]+/],
  ['inspect web', 0, /"Replicas": 3/],
  ['inspect s1', 0, /"Name": "s1"/],
  ['service rm web gl job', 0, /web\ngl\njob/],
  ['service rm nope', 1, /nope/],
  ['secret rm s1', 0, /s1/],
  ['config rm c1', 0, /c1/],
  ['network rm n1', 0, /n1/],
  ['stack deploy --resolve-image never -c COMPOSE st', 0, /Creating network st_front/],
  ['stack services st', 0, /st_web +replicated +2\/2/],
  ['stack deploy --resolve-image never -c COMPOSE st', 0, /Updating service st_web/],
  ['stack ls', 0, /st +2/],
  ['stack ps st', 0, /st_api\.1/],
  ['stack rm st', 0, /Removing network st_back/],
  ['network ls -q', 0, /^$/],
  ['events --since 10m --until 0s --filter type=service', 0, /service create \S+ \(name=web\)/],
  ['swarm leave', 1, /Removing the last manager erases all current state of the swarm/],
  ['swarm leave --force', 0, /Node left the swarm/],
  ['info', 0, /Swarm: inactive/],
]

/** Every docker command on the PATH, once per version. */
async function dockers(): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'docker')
    if (!existsSync(path)) continue
    const { stdout } = await run(path, ['--version'], {})
    if (stdout !== '' && !found.has(stdout)) found.set(stdout.trim(), path)
  }
  return found
}

interface Ran {
  readonly exit: number
  readonly stdout: string
  readonly stderr: string
}

function run(path: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { env, timeout: COMMAND_TIMEOUT_MS }
    execFile(path, [...args], options, (error, stdout, stderr) => {
      const exit = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ exit, stdout, stderr })
    })
  })
}

async function drive(t: Test, docker: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-cli-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'secret'), 'hunter2')
  writeFileSync(join(folder, 'compose.yml'), COMPOSE)
  const node = new FakeNode()
  t.teardown(fakeAgents(node))
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    DOCKER_HOST: `unix://${api.socketPath}`,
    DOCKER_CONFIG: folder,
  }
  for (const [line, exit, shows] of STEPS) {
    if (line.startsWith('service logs')) node.lines = [node.logLine('hello')]
    const args = line.split(' ').map((word) => {
      if (word === 'FILE') return join(folder, 'secret')
      return word === 'COMPOSE' ? join(folder, 'compose.yml') : word
    })
    const ran = await run(docker, args, env)
    t.equal(ran.exit, exit, `docker ${line}: ${ran.stderr}`)
    t.match(ran.stdout + ran.stderr, shows, `docker ${line}`)
  }
}

const found = await dockers()
if (found.size === 0) t.pass('no docker command on the PATH', { skip: 'no docker command' })
for (const [version, path] of found) t.test(version, (t) => drive(t, path))
