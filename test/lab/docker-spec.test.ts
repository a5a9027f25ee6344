// Goal: what `docker service create` can ask of a container it gets on a real engine: mounts of
// each kind, limits, user and rights, placeholders; a container that gets sick is replaced, and
// whoever follows the logs sees both. Method: one engine and one agent in a lab, the docker CLI.

import './enter.ts'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EngineNode } from '../../cli/lab/engine.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, startEngineNodes, tasksOf, untilRunning } from './engine-scene.ts'
import type { Test } from './lab-test.ts'

const QUICK = ['service', 'create', '--detach', '--stop-grace-period', '1s']

engineTest('what a service asks of its containers', async (t, lab) => {
  const { nodes } = await startEngineNodes(lab, 1)
  const [h1] = nodes
  await checkMounts(t, lab, h1!)
  await checkRights(t, h1!)
  await checkHealth(t, h1!)
})

/** The one container of a service, and a shell in it. */
async function containerOf(h1: EngineNode, service: string) {
  const [task] = await untilRunning(h1, service, 1)
  const id = task!.Status.ContainerStatus!.ContainerID
  const [shown] = JSON.parse(await h1.engine.mustDocker('inspect', id))
  const sh = async (line: string): Promise<string> => {
    const { stdout, stderr } = await h1.engine.docker('exec', id, 'sh', '-c', line)
    return stdout + stderr
  }
  return { task: task!, shown, sh }
}

async function checkMounts(t: Test, lab: Lab, h1: EngineNode): Promise<void> {
  t.comment('mounts')
  const { node, engine } = h1
  const folder = join(lab.folder, 'bound')
  mkdirSync(folder)
  writeFileSync(join(folder, 'file'), 'bound')
  const mounts = [
    `type=bind,source=${folder},target=/bound,readonly`,
    'type=volume,source=vol-{{.Task.Slot}},target=/vol,volume-label=of={{.Service.Name}}',
    'type=volume,target=/anonymous',
    'type=tmpfs,target=/mem,tmpfs-size=1048576,tmpfs-mode=1770',
  ]
  const options = mounts.flatMap((mount) => ['--mount', mount])
  await node.mustDocker(...QUICK, '--name', 'mounts', ...options, 'bb', 'sleep', '100000')
  const { sh } = await containerOf(h1, 'mounts')
  t.equal(await sh('cat /bound/file'), 'bound')
  t.match(await sh('echo x > /bound/file'), /Read-only file system/)
  t.match(await sh('mount | grep /mem'), /tmpfs on \/mem type tmpfs .*size=1024k,mode=1770/)
  t.equal(await sh('echo kept > /vol/file; touch /anonymous/x; cat /vol/file'), 'kept\n')
  t.equal(await engine.mustDocker('volume', 'ls', '-q', '--filter', 'label=of=mounts'), 'vol-1')
  await node.mustDocker('service', 'rm', 'mounts')
  await waitFor(async () => (await engine.mustDocker('volume', 'ls', '-q')) === 'vol-1', {
    what: 'the volume without a name to go with its container, and the other one to stay',
    timeoutMs: 30_000,
  })
  const nowhere = ['--mount', 'type=bind,source=/nowhere,target=/x', '--restart-condition', 'none']
  await node.mustDocker(...QUICK, '--name', 'nowhere', ...nowhere, 'bb', 'true')
  const why = await waitFor(
    async () => {
      const [task] = await tasksOf(h1, 'nowhere')
      return task?.Status.State === 'rejected' ? task.Status.Err : null
    },
    { what: 'the task without a source to be rejected', timeoutMs: 30_000 },
  )
  t.equal(why, 'invalid mount config for type "bind": bind source path does not exist: /nowhere')
  await node.mustDocker('service', 'rm', 'nowhere')
}

async function checkRights(t: Test, h1: EngineNode): Promise<void> {
  t.comment('limits, rights, placeholders')
  const { node } = h1
  const options = [
    ...['--limit-cpu', '0.5', '--limit-memory', '64M', '--limit-pids', '50'],
    ...['--reserve-memory', '32M', '--ulimit', 'nofile=1234:2345'],
    ...['--cap-drop', 'CHOWN', '--cap-add', 'NET_ADMIN', '--user', '1000:1000', '--group', '77'],
    ...['--read-only', '--workdir', '/tmp', '--sysctl', 'net.ipv4.ip_default_ttl=77'],
    ...['--hostname', '{{.Node.Hostname}}-{{.Service.Name}}', '--dns', '192.0.2.53'],
    ...['--env', 'WHO={{.Task.Name}} {{.Service.Labels.a}} {{.Node.Platform.OS}}'],
    ...['--label', 'a=b', '--container-label', 'c=d', '--stop-signal', 'KILL'],
  ]
  await node.mustDocker(...QUICK, '--name', 'rights', ...options, 'bb', 'sleep', '100000')
  const { task, shown, sh } = await containerOf(h1, 'rights')
  t.match(shown.HostConfig, {
    NanoCpus: 5e8,
    Memory: 64 * 1024 * 1024,
    MemoryReservation: 32 * 1024 * 1024,
    PidsLimit: 50,
  })
  t.equal(shown.Config.Labels.c, 'd')
  t.equal(shown.Config.StopSignal, 'KILL')
  t.equal(await sh('id -u; id -G; pwd; hostname'), '1000\n1000 77\n/tmp\nh1-rights\n')
  // The task's own process: what runc begins in it later may raise its limits for itself.
  t.match(await sh('grep "open files" /proc/1/limits'), /\s1234\s+2345\s/)
  t.equal(await sh('cat /proc/sys/net/ipv4/ip_default_ttl'), '77\n')
  t.match(await sh('touch /x'), /Read-only file system/)
  t.match(await sh('cat /etc/resolv.conf'), /192\.0\.2\.53/)
  t.equal(await sh('echo $WHO'), `rights.1.${task.ID} b linux\n`)
  await node.mustDocker('service', 'rm', 'rights')
}

async function checkHealth(t: Test, h1: EngineNode): Promise<void> {
  t.comment('health, and following the logs')
  const { node, engine } = h1
  const health = ['--health-cmd', 'test ! -e /sick', '--health-interval', '200ms']
  const options = [...health, '--health-retries', '1', '--restart-delay', '0s']
  const script = 'echo begun on $(hostname); exec sleep 100000'
  await node.mustDocker(...QUICK, '--name', 'ill', ...options, 'bb', 'sh', '-c', script)
  const { task } = await containerOf(h1, 'ill')
  const follow = node.follow('service', 'logs', '-f', '--raw', 'ill')
  await follow.output(/begun on/, 20_000)
  await engine.mustDocker('exec', task.Status.ContainerStatus!.ContainerID, 'touch', '/sick')
  const [next] = await untilRunning(h1, 'ill', 1, ([one]) => one!.ID !== task.ID)
  t.ok(next)
  const before = (await tasksOf(h1, 'ill')).find(({ ID }) => ID === task.ID)
  t.equal(before?.Status.State, 'failed')
  t.match(before?.Status.Err, /dockerexec: unhealthy container$/)
  await follow.output(/begun on \S+\n[\s\S]*begun on \S+\n/, 20_000)
  t.match(await node.mustDocker('service', 'logs', '--tail', '1', 'ill'), /begun on/)
  await follow.stop()
  await node.mustDocker('service', 'rm', 'ill')
}
