// Goal: containers and their connections outlive the agent, killed without warning, stopped in
// order or restarted; the engine's end is the end of its containers, which are made anew as soon as
// it is back. Method: one engine and one agent in a lab; a connection that counts, in containers of
// two services.

import './enter.ts'
import { EXIT_RESTART } from '../../cli/exit.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { engineTest, startEngineNodes, untilRunning } from './engine-scene.ts'

engineTest('agent and engine start again', async (t, lab) => {
  const { nodes } = await startEngineNodes(lab, 1)
  const [h1] = nodes
  const { node, engine } = h1!
  await node.mustDocker('network', 'create', '-d', 'overlay', 'ov')
  const create = (name: string, script: string): Promise<string> => {
    const options = ['--detach', '--name', name, '--network', 'ov', '--stop-grace-period', '1s']
    return node.mustDocker('service', 'create', ...options, 'bb', 'sh', '-c', script)
  }
  await create('echo', 'exec nc -ll -p 7 -e cat')
  const [server] = await untilRunning(h1!, 'echo', 1)
  const count = 'i=0; while i=$((i+1)); do echo $i; sleep 0.1; done'
  await create('count', `(${count}) | nc tasks.echo 7 > /tmp/out`)
  const [client] = await untilRunning(h1!, 'count', 1)
  const containers = [server, client].map((task) => task!.Status.ContainerStatus!.ContainerID)
  const counted = async (): Promise<number> =>
    Number(await engine.mustDocker('exec', containers[1]!, 'tail', '-n', '1', '/tmp/out'))
  const goesOn = async (what: string): Promise<void> => {
    const before = await counted().catch(() => 0)
    await waitFor(async () => (await counted()) > before + 3, { what, timeoutMs: 30_000 })
  }
  await goesOn('the connection')
  await node.crash()
  await node.start()
  await goesOn('the connection after the agent was killed')
  t.equal(await node.stop(), 0)
  await node.start()
  await goesOn('the connection after the agent was stopped')
  t.equal(await node.hold(), EXIT_RESTART)
  await node.start()
  await goesOn('the connection after the agent was restarted')
  const running = await engine.mustDocker('ps', '-q', '--no-trunc')
  t.same(running.split('\n').sort(), [...containers].sort(), 'the same containers')
  t.equal((await untilRunning(h1!, 'count', 1))[0]!.ID, client!.ID, 'the same task')

  t.comment('the engine ends, and is started again')
  await engine.crash()
  await engine.start()
  // A client that is back before its server fails, and is made anew once more.
  const anew = async (): Promise<boolean> => {
    const [next] = await untilRunning(h1!, 'count', 1, (tasks) => tasks[0]!.ID !== client!.ID)
    containers[1] = next!.Status.ContainerStatus!.ContainerID
    return (await counted()) > 3
  }
  await waitFor(anew, { what: 'a connection of new containers', timeoutMs: 60_000 })
})
