// Goal: a client whose connections to several nodes have one source port keeps them all, though one
// task serves them, also when that task's agent is started anew. Method: three real agents; sockets
// of one port, as the kernel gives them to whoever opens many.

import './enter.ts'
import process from 'node:process'
import type { LabProcess } from '../../cli/lab/process.ts'
import { pageService, Swarm } from '../../cli/lab/swarm.ts'
import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

/** One connection to each address, all from one port; each asks again and again, one after the
 * other. Prints a line for each round in which all were answered, and what went wrong. */
const CLIENT = `const net = require('node:net')
const sockets = process.argv.slice(1).map((host) => {
  const socket = net.connect({ host, port: 8080, localPort: 45678 })
  socket.on('error', (error) => console.log('lost', host, error.code))
  socket.on('close', () => console.log('closed', host))
  return socket
})
const ask = (socket) => new Promise((resolve) => {
  socket.once('data', (data) => resolve(String(data).split('\\r\\n\\r\\n')[1].trim()))
  socket.write('GET / HTTP/1.1\\r\\nhost: lab\\r\\n\\r\\n')
})
void (async () => {
  for (let round = 1; ; round++) {
    const answers = []
    for (const socket of sockets) answers.push(await ask(socket))
    console.log('round', round, JSON.stringify(answers))
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
})()`

class Client {
  readonly #process: LabProcess

  constructor(swarm: Swarm, nodes: readonly SwarmNode[]) {
    const addresses = nodes.map(({ host }) => host.address)
    this.#process = swarm.client.spawn([process.execPath, '-e', CLIENT, ...addresses])
  }

  get #rounds(): number {
    return this.#process.stdout.match(/^round /gm)?.length ?? 0
  }

  /** What went wrong until there were ten more rounds, '' if nothing did. */
  async more(what: string): Promise<string> {
    const from = this.#rounds
    const problem = (): string => /^(lost|closed).*/m.exec(this.#process.stdout)?.[0] ?? ''
    await waitFor(async () => this.#rounds > from + 10 || problem() !== '', { what })
    return problem()
  }

  get answers(): string[] {
    const [, list] = /^round 1 (.*)$/m.exec(this.#process.stdout)!
    return JSON.parse(list!) as string[]
  }

  async stop(): Promise<void> {
    await this.#process.stop()
  }
}

labTest('one source port, three nodes, one task', async (t, lab) => {
  const swarm = await Swarm.start(lab, { count: 3 })
  await swarm.network('front')
  await swarm.service(pageService('web', ['front'], 1, { port: 8080 }))
  const [task] = await swarm.converged('web', 1)
  await swarm.patience(30)
  await swarm.served(8080)
  const all = new Client(swarm, swarm.nodes)
  t.equal(await all.more('three connections'), '', 'all three are answered')
  t.equal(all.answers.length, 3)
  for (const answer of all.answers) t.match(answer, ` saw ${swarm.client.address}`)
  await all.stop()

  t.comment('a new agent on the node of the task')
  const node = swarm.nodeOf(task!, await swarm.manager.nodes())
  const two = new Client(
    swarm,
    swarm.nodes.filter((one) => one !== node),
  )
  t.equal(await two.more('two connections'), '')
  await node.stop()
  await node.start()
  t.equal(await two.more('two connections after that'), '', 'they go on')
  await two.stop()
})
