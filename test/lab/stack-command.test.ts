// Goal: a compose file goes through its life by `weft stack` alone, on a machine without Docker.
// Method: a real agent that runs processes; the commands as people type them.

import './enter.ts'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const COMPOSE = `
services:
  web:
    image: host
    command: ["sh", "-c", "echo hello from $$0; cat /run/secrets/word; exec sleep 1000", "web"]
    secrets: [word]
    networks: {front: {aliases: [www]}}
    deploy: {replicas: 2, update_config: {monitor: 100ms}}
  other:
    image: host
    command: sleep 1000
    networks: [front]
    deploy: {update_config: {monitor: 100ms}}
networks: {front: {}}
secrets: {word: {file: ./word.txt}}
`

labTest('a stack by the commands', async (t, lab) => {
  const [node] = await startNodes(lab, 1)
  await node!.init()
  const folder = join(lab.folder, 'stack')
  mkdirSync(folder)
  const file = join(folder, 'compose.yaml')
  writeFileSync(file, COMPOSE)
  writeFileSync(join(folder, 'word.txt'), 'swordfish\n')
  const must = async (...args: readonly string[]): Promise<string> => {
    const { status, stdout, stderr } = await node!.weft(...args)
    t.equal(status, 0, `weft ${args.join(' ')}: ${stderr}`)
    return stdout
  }

  const deployed = await must('stack', 'deploy', '--detach=false', '-c', file, 'st')
  t.match(deployed, /Creating network st_front\n[\s\S]*Creating service st_web/)
  t.match(deployed, /overall progress: 2 out of 2 tasks[\s\S]*converged/)
  t.match(await must('stack', 'ls'), /^st +2$/m)
  t.match(await must('stack', 'services', 'st'), /st_web +replicated +2\/2 +host/)
  t.match(await must('stack', 'ps', 'st'), /st_web\.1 +host +h1 +Running +Running/)
  await waitFor(
    async () => {
      const { stdout } = await node!.weft('service', 'logs', '--raw', 'st_web')
      return /hello from web/.test(stdout) && /swordfish/.test(stdout)
    },
    { what: 'the logs of both tasks', timeoutMs: 30_000 },
  )

  t.comment('again, with a service less and a task more')
  const less = COMPOSE.replace(/ {2}other:[\s\S]*?(?=networks: \{front: \{\}\})/, '')
  writeFileSync(file, less.replace('replicas: 2', 'replicas: 3'))
  const again = await must('stack', 'deploy', '--detach=false', '--prune', '-c', file, 'st')
  t.match(again, /Removing service st_other[\s\S]*Updating service st_web/)
  t.match(await must('stack', 'services', 'st'), /st_web +replicated +3\/3/)

  const gone = await must('stack', 'rm', '--detach=false', 'st')
  t.match(gone, /Removing service st_web[\s\S]*Removing secret st_word[\s\S]*network st_front/)
  t.equal(await must('stack', 'ls'), 'NAME      SERVICES\n')
  t.equal(await must('secret', 'ls', '-q'), '')
  await waitFor(async () => !(await must('network', 'ls')).includes('st_front'), {
    what: 'the network to be gone',
    timeoutMs: 30_000,
  })
})
