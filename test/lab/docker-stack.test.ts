// Goal: the stock docker CLI takes stacks, services and nodes through their lives on real engines:
// deployed, deployed again, pruned, updated, rolled back, scaled with progress to its end, drained,
// a node removed, all of it told as events. Method: engines and agents on two hosts of a lab, the
// docker CLI as people type it.

import './enter.ts'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EngineNode } from '../../cli/lab/engine.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, startEngineNodes, tasksOf, untilRunning } from './engine-scene.ts'
import type { Test } from './lab-test.ts'

const COMPOSE = `version: "3.8"
services:
  web:
    image: bb
    command: ["sh", "-c", "cat /run/secrets/word /motd > /tmp/x; exec httpd -f -p 80 -h /tmp"]
    stop_grace_period: 1s
    secrets: [word]
    configs: [motd]
    networks: {front: {aliases: [www]}}
    ports: ["8080:80"]
    deploy: {replicas: 2, update_config: {monitor: 2s, parallelism: 2}}
  other:
    image: bb
    command: sleep 100000
    stop_grace_period: 1s
    networks: [front]
    deploy: {update_config: {monitor: 2s}}
networks: {front: {}}
secrets: {word: {file: ./word.txt}}
configs: {motd: {file: ./word.txt}}
`
/** The CLI looks every 200 ms: it has to see the tasks run before the update is over. */
const UPDATE = ['--detach=false', '--update-monitor', '2s', '--rollback-monitor', '2s']

type Docker = (...args: readonly string[]) => Promise<string>

/** Waits for a stack: `docker stack deploy --detach=false`. */
const CLI_MAJOR_MIN = 26

engineTest(
  'stacks, services and nodes by the docker CLI',
  async (t, lab) => {
    const { nodes, client } = await startEngineNodes(lab, 2)
    const [h1, h2] = nodes
    const docker: Docker = (...args) => h1!.node.mustDocker(...args)
    const sinceS = Math.floor(Date.now() / 1000)
    const file = join(lab.folder, 'compose.yaml')
    writeFileSync(file, COMPOSE)
    writeFileSync(join(lab.folder, 'word.txt'), 'swordfish\n')
    await h1!.engine.mustDocker('tag', 'bb', 'bb:two')
    await h2!.engine.mustDocker('tag', 'bb', 'bb:two')

    await checkStack(t, h1!, file)
    const url = `http://${h2!.node.host.address}:8080/x`
    const page = await waitFor(async () => client.must(['wget', '-T', '5', '-qO-', url]), {
      what: 'the published port',
      timeoutMs: 20_000,
    })
    t.equal(page, 'swordfish\nswordfish\n')
    await checkService(t, docker)
    await checkNodes(t, h1!, h2!)
    await checkRemoval(t, h1!)
    await checkEvents(t, docker, sinceS)
  },
  CLI_MAJOR_MIN,
)

async function checkStack(t: Test, h1: EngineNode, file: string): Promise<void> {
  t.comment('a stack')
  const docker: Docker = (...args) => h1.node.mustDocker(...args)
  const deploy: Docker = (...args) =>
    docker(
      'stack',
      'deploy',
      '--detach=false',
      '--resolve-image',
      'never',
      ...args,
      '-c',
      file,
      'st',
    )
  t.match(await deploy(), /Creating network st_front[\s\S]*Creating service st_web/)
  t.match(await docker('stack', 'ls'), /^st +2/m)
  t.match(
    await docker('stack', 'services', 'st'),
    /st_web +replicated +2\/2 +bb:latest +\*:8080->80/,
  )
  t.match(await docker('stack', 'ps', 'st'), /st_web\.1 +bb:latest +h[12] +Running +Running/)

  t.comment('deployed again: a task more, then a service less')
  const more = COMPOSE.replace('replicas: 2', 'replicas: 3')
  writeFileSync(file, more)
  t.match(await deploy(), /Updating service st_web[\s\S]*converged/)
  t.match(await docker('stack', 'services', 'st'), /st_web +replicated +3\/3/)
  writeFileSync(file, more.replace(/ {2}other:[\s\S]*?(?=networks: \{front: \{\}\})/, ''))
  t.match(await docker('stack', 'ls'), /^st +2/m, 'nothing goes without --prune')
  t.match(await deploy('--prune'), /Removing service st_other/)
  t.match(await docker('stack', 'ls'), /^st +1/m)
}

async function checkService(t: Test, docker: Docker): Promise<void> {
  t.comment('a service')
  const update: Docker = (...args) => docker('service', 'update', ...UPDATE, ...args, 'st_web')
  const image = async (): Promise<string> =>
    docker('service', 'inspect', '-f', '{{.Spec.TaskTemplate.ContainerSpec.Image}}', 'st_web')
  const updated = await update('--no-resolve-image', '--image', 'bb:two')
  t.match(updated, /overall progress: 3 out of 3 tasks[\s\S]*Service st_web converged/)
  t.equal(await image(), 'bb:two')
  const back = await docker('service', 'rollback', '--detach=false', 'st_web')
  t.match(
    back,
    /rollback: update rolled back|overall progress: rolling back update: 3 out of 3 tasks/,
  )
  t.equal(await image(), 'bb:latest')
  const scaled = await docker('service', 'scale', '--detach=false', 'st_web=2')
  t.match(scaled, /st_web scaled to 2[\s\S]*overall progress: 2 out of 2 tasks[\s\S]*converged/)
  await waitFor(async () => /st_web +replicated +2\/2/.test(await docker('service', 'ls')), {
    what: 'the third task to stop',
    timeoutMs: 20_000,
  })
}

async function checkNodes(t: Test, h1: EngineNode, h2: EngineNode): Promise<void> {
  t.comment('nodes')
  const docker: Docker = (...args) => h1.node.mustDocker(...args)
  t.match(await docker('node', 'ps', 'h2'), /st_web\.[123] +bb:latest +h2 +Running/)
  await docker('node', 'update', '--availability', 'drain', 'h2')
  const here = (await h1.node.nodes()).get('h1')!.ID
  const isHere = (tasks: readonly { readonly NodeID: string }[]): boolean =>
    tasks.every(({ NodeID }) => NodeID === here)
  await untilRunning(h1, 'st_web', 2, isHere)
  await waitFor(async () => (await h2.engine.mustDocker('ps', '-q')) === '', {
    what: 'the drained node to be empty',
    timeoutMs: 30_000,
  })
  await docker('node', 'update', '--availability', 'active', 'h2')
  await docker('service', 'update', ...UPDATE, '--force', 'st_web')
  await untilRunning(h1, 'st_web', 2, (tasks) => !isHere(tasks))
  t.match(await h1.node.docker('node', 'rm', 'h2'), { stderr: /is not down and can't be removed/ })
  await docker('node', 'rm', '--force', 'h2')
  await untilRunning(h1, 'st_web', 2, isHere)
  t.notMatch(await docker('node', 'ls'), /\bh2\b/)
  // As with Docker, what it runs goes on until it leaves.
  await waitFor(async () => (await h2.node.info()).Swarm.LocalNodeState === 'error', {
    what: 'the node to learn of it',
    timeoutMs: 20_000,
  })
  t.not(await h2.engine.mustDocker('ps', '-q'), '')
  await h2.node.mustDocker('swarm', 'leave')
  await waitFor(async () => (await h2.engine.mustDocker('ps', '-aq')) === '', {
    what: 'the node that left to end its containers',
    timeoutMs: 60_000,
  })
}

async function checkRemoval(t: Test, h1: EngineNode): Promise<void> {
  t.comment('the end of a stack')
  const docker: Docker = (...args) => h1.node.mustDocker(...args)
  t.match(await docker('stack', 'rm', 'st'), /Removing service st_web[\s\S]*network st_front/)
  t.equal(await docker('stack', 'ls', '--format', '{{.Name}}'), '')
  await waitFor(async () => (await h1.engine.mustDocker('ps', '-aq')) === '', {
    what: 'the end of its containers',
    timeoutMs: 60_000,
  })
  t.same(await tasksOf(h1, 'st_web').catch(() => []), [])
}

async function checkEvents(t: Test, docker: Docker, sinceS: number): Promise<void> {
  t.comment('events')
  const untilS = String(Math.ceil(Date.now() / 1000))
  const format = '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'
  const time = ['--since', String(sinceS), '--until', untilS]
  const lines = (await docker('events', ...time, '--format', format)).split('\n')
  for (const wanted of [
    'network create st_front',
    'secret create st_word',
    'config create st_motd',
    'service create st_web',
    'service update st_web',
    'service remove st_other',
    'node update h2',
    'node remove h2',
    'service remove st_web',
    'network remove st_front',
    'secret remove st_word',
  ]) {
    t.ok(lines.includes(wanted), wanted)
  }
}
