import type { Lab } from '../cli/lab/lab.ts'
import type { AbsentContestant, Bench, Contestant } from './harness.ts'
import { nginx, SECOND_PORT, wrk } from './load/http.ts'
import { iperfServer, tcpFlow } from './load/iperf3.ts'
import { reasonOf } from './peers/contestants.ts'
import { untilReachable } from './peers/pair.ts'
import { weftAgents, weftPair } from './peers/weft.ts'

/** One pair of tasks on two hosts: "weft" goes through the VIP, its peer to the task's own
 * address. */
async function contestants(lab: Lab): Promise<(Contestant | AbsentContestant)[]> {
  try {
    const { plan, tasks } = await weftPair(lab)
    const vip = plan.service({ name: 'web', network: 'bench', tasks: ['t2'] })[0]!
    await weftAgents(lab, plan)
    const [client, server] = tasks
    const pair = { client, server, address: plan.addressOf('t2', 'bench') }
    await untilReachable(pair)
    await iperfServer(pair)
    await nginx(lab, server)
    const through = (name: string, address: string, port: number): Contestant => ({
      name,
      measure: async (seconds) => ({
        tcp: await tcpFlow(pair, seconds, address),
        'new connections': await wrk(client, `${address}:${port}`, seconds, true),
      }),
    })
    return [through('weft', vip, 80), through('the task directly', pair.address, SECOND_PORT)]
  } catch (error) {
    const absent = reasonOf(error as Error)
    return ['weft', 'the task directly'].map((name) => ({ name, absent }))
  }
}

export const bench: Bench = {
  name: 'vip',
  question: 'What does a VIP cost against the same task under its own address?',
  metrics: [
    { name: 'tcp', unit: 'Gb/s' },
    { name: 'new connections', unit: '1/s' },
  ],
  goals: [{ metric: 'tcp', peer: 'the task directly', atLeast: 0.95 }],
  contestants,
}
