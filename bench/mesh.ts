import type { Lab } from '../cli/lab/lab.ts'
import { Topology } from '../cli/lab/topology.ts'
import { waitFor } from '../cli/lab/wait.ts'
import type { AbsentContestant, Bench, Contestant, Yield } from './harness.ts'
import { nginx, wrk } from './load/http.ts'
import { type Chain, chain, routed } from './peers/chain.ts'
import { reasonOf } from './peers/contestants.ts'
import { haproxy } from './peers/haproxy.ts'
import { nftDnat } from './peers/nft-dnat.ts'
import { manyPorts } from './peers/pair.ts'
import { weftAgents } from './peers/weft.ts'

const PORT = 8080

interface Way {
  readonly name: string
  /** Sets the balancer up on a chain of its own; returns the target for the client. */
  readonly setup: (lab: Lab, one: Chain) => Promise<string>
}

async function weftMesh(lab: Lab, one: Chain): Promise<string> {
  const { front, back } = one
  const task = await lab.host('mwt')
  await manyPorts(task)
  const plan = new Topology()
  plan.node({ name: front.name, address: front.addresses[1]!, addresses: front.addresses })
  plan.node({ name: back.name, address: back.address })
  plan.network({ name: 'front', vni: 7, subnets: ['10.95.0.0/24'] })
  plan.task({ name: task.name, node: back.name, networks: ['front'] })
  plan.service({ name: 'web', network: 'front', tasks: [task.name] })
  plan.publish({ protocol: 'tcp', port: PORT, service: 'web', targetPort: 80 })
  await weftAgents(lab, plan)
  await nginx(lab, task)
  return `${one.frontAddress}:${PORT}`
}

async function onUnderlay(
  lab: Lab,
  one: Chain,
  balancer: (lab: Lab, one: Chain) => Promise<void>,
): Promise<void> {
  await nginx(lab, one.back)
  await balancer(lab, one)
}

const WAYS: readonly Way[] = [
  { name: 'weft', setup: weftMesh },
  {
    name: 'haproxy (plain underlay)',
    async setup(lab, one) {
      await onUnderlay(lab, one, (lab, one) => haproxy(lab, one, PORT))
      return `${one.frontAddress}:${PORT}`
    },
  },
  {
    name: 'nft DNAT (plain underlay)',
    async setup(lab, one) {
      await onUnderlay(lab, one, (_, one) => nftDnat(one, PORT))
      return `${one.frontAddress}:${PORT}`
    },
  },
  {
    name: 'routed (no balancer)',
    async setup(lab, one) {
      await onUnderlay(lab, one, (_, one) => routed(one))
      return `${one.backAddress}:80`
    },
  },
]

async function contestants(lab: Lab): Promise<(Contestant | AbsentContestant)[]> {
  const all: (Contestant | AbsentContestant)[] = []
  for (const [i, way] of WAYS.entries()) {
    try {
      const one = await chain(lab, `m${i}`)
      const target = await way.setup(lab, one)
      const answers = async (): Promise<boolean> =>
        (await one.client.probe.try('get', `http://${target}/`, { timeoutMs: 500 })).status === 200
      await waitFor(answers, { what: `an answer from ${target}` })
      await one.client.release()
      all.push({ name: way.name, measure: (seconds) => measure(one, target, seconds) })
    } catch (error) {
      all.push({ name: way.name, absent: reasonOf(error as Error) })
    }
  }
  return all
}

async function measure(one: Chain, target: string, seconds: number): Promise<Yield> {
  return {
    'new connections': await wrk(one.client, target, seconds, true),
    'requests, keep-alive': await wrk(one.client, target, seconds, false),
  }
}

export const bench: Bench = {
  name: 'mesh',
  question: 'How many connections per second go through a published port to a backend elsewhere?',
  metrics: [
    { name: 'new connections', unit: '1/s' },
    { name: 'requests, keep-alive', unit: '1/s' },
  ],
  goals: [{ metric: 'new connections', peer: 'haproxy (plain underlay)', atLeast: 1.3 }],
  contestants,
}
