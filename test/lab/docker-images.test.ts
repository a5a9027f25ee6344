// Goal: images come from a registry with the credentials of whoever made the service, which are
// nowhere to be read; one that cannot be had is told in Docker's words and leaves nothing behind.
// Method: a registry of one image on the loopback address of a host of the lab, the docker CLI.

import './enter.ts'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { EngineNode } from '../../cli/lab/engine.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, startEngineNodes, tasksOf, untilRunning } from './engine-scene.ts'
import type { Test } from './lab-test.ts'

const REGISTRY = fileURLToPath(new URL('./registry.ts', import.meta.url))
const PORT = 5000
const IMAGE = `127.0.0.1:${PORT}/app:1`
const CREDENTIALS = 'somebody:hush-hush-7421'
const QUICK = ['--detach', '--stop-grace-period', '1s', '--restart-condition', 'none']

engineTest('images of a registry, and images that cannot be had', async (t, lab) => {
  const { nodes } = await startEngineNodes(lab, 1)
  const [h1] = nodes
  const node = [process.execPath, '--disable-warning=ExperimentalWarning']
  const arguments_ = [REGISTRY, String(PORT), join(lab.folder, 'bb.tar'), CREDENTIALS]
  const registry = h1!.node.host.spawn([...node, ...arguments_])
  await registry.output(/the registry is up/)
  await h1!.node.mustDocker('network', 'create', '-d', 'overlay', 'ov')
  await checkRefused(t, h1!)
  await checkPulled(t, lab, h1!)
})

async function checkRefused(t: Test, { node, engine }: EngineNode): Promise<void> {
  t.comment('without credentials')
  const create = ['service', 'create', ...QUICK, '--network', 'ov', '--name', 'no', IMAGE]
  const made = await node.docker(...create)
  t.equal(made.status, 0, made.stderr)
  t.match(made.stderr, /could not be accessed on a registry to record\s+its digest/)
  const ended = await waitFor(
    async () => {
      const [task] = await tasksOf({ node, engine }, 'no')
      return task?.Status.State === 'rejected' ? task.Status : null
    },
    { what: 'the task to be rejected', timeoutMs: 30_000 },
  )
  t.equal(ended.Err, `No such image: ${IMAGE}`)
  t.match(
    await node.mustDocker('service', 'ps', '--no-trunc', 'no'),
    /"No such image: 127\.0\.0\.1/,
  )
  t.equal(await engine.mustDocker('ps', '-aq'), '', 'nothing half-made')
  await node.mustDocker('service', 'rm', 'no')
  const left = async (): Promise<string[]> => [
    await engine.mustDocker('network', 'ls', '-q', '--filter', 'driver=weft'),
    await node.host.must(['sh', '-c', 'ip -o link | grep wft || true']),
  ]
  await waitFor(async () => (await left()).every((text) => text === ''), {
    what: 'the end of networks and interfaces',
    timeoutMs: 30_000,
  })
}

async function checkPulled(t: Test, lab: Lab, h1: EngineNode): Promise<void> {
  t.comment('with credentials')
  const { node, engine } = h1
  const folder = join(lab.folder, 'docker-config')
  mkdirSync(folder)
  const auth = Buffer.from(CREDENTIALS).toString('base64')
  const auths = { [`127.0.0.1:${PORT}`]: { auth } }
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ auths }))
  const create = ['service', 'create', ...QUICK, '--with-registry-auth', '--network', 'ov']
  await node.mustDocker('--config', folder, ...create, '--name', 'yes', IMAGE)
  const [task] = await untilRunning(h1, 'yes', 1)
  const id = task!.Status.ContainerStatus!.ContainerID
  t.match(await engine.mustDocker('inspect', '-f', '{{.Config.Image}}', id), /app:1@sha256:/)
  t.match(await node.mustDocker('service', 'inspect', 'yes'), /app:1@sha256:[0-9a-f]{64}/)

  t.comment('an update that brings none goes on with those that are there')
  await engine.mustDocker('tag', 'bb', 'keep')
  await node.mustDocker('service', 'scale', '--detach', 'yes=0')
  await waitFor(async () => (await engine.mustDocker('ps', '-aq')) === '', {
    what: 'the end of its container',
    timeoutMs: 30_000,
  })
  await engine.mustDocker('image', 'prune', '-af')
  await node.mustDocker('service', 'scale', '--detach', 'yes=1')
  await untilRunning(h1, 'yes', 1)

  t.comment('and nobody can read them')
  const words = [auth, 'hush-hush-7421']
  const shown = await node.mustDocker('service', 'inspect', 'yes')
  t.notOk(words.some((word) => shown.includes(word)))
  t.notOk(words.some((word) => node.log.includes(word)))
  for (const word of words) {
    const folders = [node.dataDirectory, node.runDirectory]
    t.equal((await node.host.exec(['grep', '-rlaF', word, ...folders])).stdout, '')
  }
}
