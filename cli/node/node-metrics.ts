// What a node tells of its part in the swarm, beside the data plane's metrics: under Swarm's own
// names where there are any (swarm_*), so that dashboards go on working, and weft_* for the rest.
// Values are read when somebody scrapes.

import type { DnsCounts } from '../../controlplane/agent/dns/server.ts'
import type { Store } from '../../controlplane/store/contract.ts'
import { TASK_STATES } from '../../controlplane/store/objects.ts'
import { exposition, type Metric, type Sample } from './exposition.ts'
import type { LeaderLoops } from './leader-loops.ts'
import type { Manager } from './manager.ts'
import type { SwarmMembership } from './membership.ts'
import type { Node } from './node.ts'

const NODE_STATES = ['unknown', 'down', 'ready', 'disconnected'] as const
const LOCAL_STATES = ['inactive', 'pending', 'active', 'error', 'locked'] as const
const MS_PER_SECOND = 1000

const gauge = (name: string, help: string, value: number): Metric => ({
  name,
  help,
  type: 'gauge',
  samples: [{ value }],
})
const counter = (name: string, help: string, value: number): Metric => ({
  name,
  help,
  type: 'counter',
  samples: [{ value }],
})

/** The page's part of the control plane. */
export async function nodeMetrics(node: Node): Promise<string> {
  const { state, nodeId } = node.status()
  const { membership, manager } = node
  const names = (await membership?.dataPlane.nameCounts()) ?? null
  const clusterId = membership?.clusterId ?? ''
  const info = { swarm_id: clusterId, node_id: nodeId }
  return exposition([
    {
      name: 'weft_node_state',
      help: 'Part that this node has in a swarm: 1 for what it is.',
      type: 'gauge',
      samples: LOCAL_STATES.map((one) => ({
        labels: { state: one },
        value: Number(one === state),
      })),
    },
    {
      name: 'swarm_node_info',
      help: 'The node and its swarm.',
      type: 'gauge',
      samples: nodeId === '' ? [] : [{ labels: info, value: 1 }],
    },
    gauge('swarm_node_manager', 'Whether this node is a manager.', Number(manager !== null)),
    ...(membership === null ? [] : membershipMetrics(membership)),
    ...(names === null ? [] : nameMetrics(names)),
    ...(manager === null ? [] : managerMetrics(manager)),
  ])
}

function nameMetrics({ udp, tcp, ...results }: DnsCounts): Metric[] {
  const by = (label: string, counts: Readonly<Record<string, number>>): Sample[] =>
    Object.entries(counts).map(([value, count]) => ({ labels: { [label]: value }, value: count }))
  return [
    {
      name: 'weft_dns_queries_total',
      help: "Questions to this node's name server, by transport.",
      type: 'counter',
      samples: by('transport', { udp, tcp }),
    },
    {
      name: 'weft_dns_results_total',
      help: 'How they ended.',
      type: 'counter',
      samples: by('result', { ...results }),
    },
  ]
}

function membershipMetrics({ security, agent }: SwarmMembership): Metric[] {
  const { failures, dropped, silentPeers } = agent.counts
  return [
    gauge(
      'weft_certificate_expiry_timestamp_seconds',
      "End of this node's certificate, seconds since 1970.",
      security.notAfterMs / MS_PER_SECOND,
    ),
    gauge(
      'weft_session_connected',
      'Whether there is a session with the leader.',
      Number(agent.isConnected),
    ),
    gauge('weft_agent_tasks', 'Tasks of this node.', agent.worker.tasks.size),
    gauge('weft_agent_silent_peers', 'Nodes that do not answer this one.', silentPeers),
    counter('weft_agent_tables_failures_total', 'Tables that were not taken.', failures),
    gauge('weft_agent_tables_dropped_items', 'Items left out of the running tables.', dropped),
  ]
}

function managerMetrics(manager: Manager): Metric[] {
  return [
    gauge('swarm_manager_leader', 'Whether this manager leads.', Number(manager.isLeader)),
    ...storeMetrics(manager.store),
    ...raftMetrics(manager),
    ...(manager.loops === null ? [] : leaderMetrics(manager.loops)),
  ]
}

function storeMetrics(store: Store): Metric[] {
  return store.view((tx) => {
    const nodes = tx.all('nodes')
    const tasks = tx.all('tasks')
    const count = (name: string, noun: string, value: number): Metric =>
      gauge(`swarm_manager_${name}_total`, `${noun} in the swarm.`, value)
    const byState = (states: readonly string[], all: readonly string[]): Sample[] =>
      states.map((state) => ({
        labels: { state },
        value: all.filter((one) => one === state).length,
      }))
    const cluster = tx.cluster()
    return [
      {
        name: 'swarm_manager_nodes',
        help: 'Nodes by state.',
        type: 'gauge',
        samples: byState(
          NODE_STATES,
          nodes.map(({ status }) => status.state),
        ),
      },
      {
        name: 'swarm_manager_tasks_total',
        help: 'Tasks by state.',
        type: 'gauge',
        samples: byState(
          TASK_STATES,
          tasks.map(({ status }) => status.state),
        ),
      },
      count('services', 'Services', tx.all('services').length),
      count('networks', 'Networks', tx.all('networks').length),
      count('secrets', 'Secrets', tx.all('secrets').length),
      count('configs', 'Configs', tx.all('configs').length),
      gauge(
        'weft_root_rotation_in_progress',
        'Whether the root certificate is being changed.',
        Number((cluster?.rootCa.rotation ?? null) !== null),
      ),
    ]
  })
}

function raftMetrics({ member }: Manager): Metric[] {
  const raft = member.metrics()
  const peers = (value: (peer: (typeof raft.peers)[number]) => number): Sample[] =>
    raft.peers.map((peer) => ({ labels: { peer: peer.address }, value: value(peer) }))
  return [
    gauge('weft_raft_term', 'Term of the Raft group.', raft.term),
    gauge('weft_raft_has_leader', 'Whether a leader is known.', Number(raft.leader !== 0)),
    gauge('weft_raft_committed_index', 'Last entry that is committed.', raft.committedIndex),
    gauge('weft_raft_applied_index', 'Last entry that is applied here.', raft.appliedIndex),
    gauge('weft_raft_last_index', 'Last entry of the log here.', raft.lastIndex),
    counter('weft_raft_elections_total', 'Elections that this member stood for.', raft.elections),
    counter('weft_raft_leader_changes_total', 'Changes of the leader seen.', raft.leaderChanges),
    gauge('weft_raft_pending_proposals', 'Proposals not applied yet.', raft.pendingProposals),
    gauge('weft_raft_pending_reads', 'Reads not confirmed yet.', raft.pendingReads),
    gauge('weft_raft_queued_writes', 'Writes that the disk has not confirmed.', raft.queuedWrites),
    {
      name: 'swarm_raft_transaction_latency_seconds',
      help: 'From a proposal to its being applied here.',
      type: 'histogram',
      values: raft.commitLatency,
    },
    {
      name: 'weft_raft_write_latency_seconds',
      help: 'One durable write of the log, sync included.',
      type: 'histogram',
      values: raft.writeLatency,
    },
    {
      name: 'weft_raft_apply_latency_seconds',
      help: 'One entry in the store.',
      type: 'histogram',
      values: raft.applyLatency,
    },
    {
      name: 'weft_raft_peer_connected',
      help: 'Whether the link to another manager stands.',
      type: 'gauge',
      samples: peers(({ connected }) => Number(connected)),
    },
    {
      name: 'weft_raft_peer_dropped_total',
      help: 'Messages to another manager that were dropped.',
      type: 'counter',
      samples: peers(({ dropped }) => dropped),
    },
  ]
}

/** "constraint-enforcer", "delayMsSum" -> "weft_constraint_enforcer_delay_ms_sum". */
function loopMetricName(loop: string, name: string): string {
  const words = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
  return `weft_${loop.replaceAll('-', '_')}_${words}`
}

function leaderMetrics({ dispatcher, control, scheduler, allocator }: LeaderLoops): Metric[] {
  const { sessions, away, feeds, drains } = dispatcher.counts
  const loops = [...control].flatMap(([loop, { counters }]) =>
    Object.entries(counters).map(([name, value]) => {
      const noun = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
      return gauge(loopMetricName(loop, name), `Of the ${loop}, since it leads: ${noun}.`, value)
    }),
  )
  return [
    gauge('weft_dispatcher_sessions', 'Nodes with a session.', sessions),
    gauge('weft_dispatcher_away', 'Nodes that do not answer, out of service.', away),
    gauge('weft_dispatcher_feeds', 'Streams of assignments.', feeds),
    gauge('weft_dispatcher_drains', 'Tasks that are being drained.', drains),
    {
      name: 'weft_scheduler_delay_seconds',
      help: "From a task's becoming pending to its having a node.",
      type: 'histogram',
      values: scheduler.delays.values(),
    },
    {
      name: 'weft_network_free_addresses',
      help: 'Addresses of a network that are left.',
      type: 'gauge',
      samples: allocator
        .freeAddresses()
        .map(({ network, free }) => ({ labels: { network }, value: free })),
    },
    ...loops,
  ]
}
