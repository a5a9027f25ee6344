// Goal: an agent tells of its part in the swarm under Swarm's names and its own, in a page that
// Prometheus reads; and the node has what it reaches its peers' data planes with: their counters
// are on its page, so they are in its tables, and all nodes know the same tunnel key. Method: real
// agents on hosts of a lab; the key from where an agent keeps what it knows of the cluster.

import { spawnSync } from 'node:child_process'
import './enter.ts'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseMetrics } from '../../cli/lab/metrics.ts'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

/** Status 3 is a matter of taste: Swarm's gauges end in "_total". 1 is a page that cannot be
 * read. */
function judge(t: Test, input: string): void {
  const { status, error } = spawnSync('promtool', ['check', 'metrics'], { input })
  if (error !== undefined) t.comment('promtool is not installed: the page is not judged')
  else t.ok(status === 0 || status === 3, `promtool reads the page: ${status}`)
}

labTest('metrics of a swarm, and its peers in the tables', async (t, lab) => {
  const nodes = await startNodes(lab, 2, { arguments: ['--metrics', '127.0.0.1:9323'] })
  const [h1, h2] = nodes as [SwarmNode, SwarmNode]
  const valuesOf = async (node: SwarmNode): Promise<Map<string, number>> => {
    const text = await node.host.probe.get('http://127.0.0.1:9323/metrics')
    const shown = (labels: object): string =>
      Object.entries(labels)
        .map(([name, value]) => `${name}=${value}`)
        .join()
    return new Map(
      parseMetrics(text).map(({ name, labels, value }) => [
        `${name} ${shown(labels)}`.trim(),
        value,
      ]),
    )
  }
  t.equal((await valuesOf(h1)).get('weft_node_state state=inactive'), 1)
  await foundSwarm(nodes, 1)
  const leader = await valuesOf(h1)
  const expected: Readonly<Record<string, number>> = {
    'weft_node_state state=active': 1,
    swarm_node_manager: 1,
    swarm_manager_leader: 1,
    'swarm_manager_nodes state=ready': 2,
    swarm_manager_networks_total: 1,
    weft_dispatcher_sessions: 2,
    weft_dispatcher_away: 0,
    weft_raft_has_leader: 1,
    weft_session_connected: 1,
  }
  for (const [name, value] of Object.entries(expected)) t.equal(leader.get(name), value, name)
  t.ok(leader.get('swarm_raft_transaction_latency_seconds_count')! > 0)
  t.equal(leader.get('weft_scheduler_delay_seconds_count'), 0, 'no task yet')
  t.ok(leader.get('weft_network_free_addresses network=ingress')! > 200)
  t.equal(leader.get('weft_dns_results_total result=failed'), 0)
  judge(t, await h1.host.probe.get('http://127.0.0.1:9323/metrics'))
  t.ok(leader.get('weft_certificate_expiry_timestamp_seconds')! > 1.7e9)
  const worker = await valuesOf(h2)
  t.equal(worker.get('swarm_node_manager'), 0)
  t.equal(worker.get('swarm_manager_leader'), undefined)

  t.comment('documents tell of each')
  const text = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')
  const names = [...leader.keys()].map((key) => key.split(' ')[0]!)
  const ofSwarm = /^swarm_|^weft_(node|certificate|session|agent|root|raft|dispatcher)_/
  const ofLoops = /^weft_(allocator|scheduler|orchestrator|constraint_enforcer|reaper|rebalancer)_/
  const documented = new Set(
    names
      .filter((name) => ofSwarm.test(name) || ofLoops.test(name))
      .map((name) => name.replace(/(_seconds)_(bucket|sum|count)$/, '$1')),
  )
  t.ok(documented.size > 40, `${documented.size} names`)
  for (const name of documented) t.ok(text.includes(`\`${name}\``), name)

  t.comment('each has the other as a peer')
  const ids = new Map(
    [...(await h1.nodes()).values()].map((one) => [one.Description.Hostname, one.ID]),
  )
  for (const [node, other] of [
    [h1, 'h2'],
    [h2, 'h1'],
  ] as const) {
    const name = `weft_peer_transmit_packets_total peer=${ids.get(other)}`
    await waitFor(async () => (await valuesOf(node)).has(name), {
      what: `${other} in the tables of ${node.name}`,
      timeoutMs: 30_000,
    })
  }
  await checkTunnelKeys(t, nodes)
})

/** The preshared key has arrived at each node, and is the same. */
async function checkTunnelKeys(t: Test, nodes: readonly SwarmNode[]): Promise<void> {
  const keysOf = ({ dataDirectory }: SwarmNode): string[] => {
    const file = join(dataDirectory, 'swarm/worker/cluster.json')
    return JSON.parse(readFileSync(file, 'utf8')).facts.tunnelKeys
  }
  await waitFor(() => nodes.every((node) => keysOf(node).length === 1), {
    what: 'one tunnel key on each node',
    timeoutMs: 30_000,
  })
  const [first, ...others] = nodes.map(keysOf)
  for (const other of others) t.same(other, first)
  t.equal(Buffer.from(first![0]!, 'base64').length, 32)
}
