// Stands for allocator, orchestrators, scheduler and agents: every service gets its tasks, which
// run (or are complete) at once on the first node; an update replaces them; what was removed goes.
// Enough for the docker CLI to see its commands converge.

import type { Change, WriteTransaction } from '../../store/contract.ts'
import { newId } from '../../store/ids.ts'
import { newTask } from '../../store/new-task.ts'
import type { NetworkObject, ServiceObject, TaskObject } from '../../store/objects.ts'
import { isTaskDirty } from '../../store/task-dirty.ts'
import type { FakeNode } from './fake-node.ts'

/** The network of published ports, as the allocator makes it first. */
export async function fakeIngress({ store, clock }: FakeNode): Promise<void> {
  const spec = { Name: 'ingress', Labels: {}, Driver: 'overlay', Ingress: true }
  const id = newId((size) => new Uint8Array(size).fill(clock.wallMs() % 251))
  await store.update((tx) => {
    tx.create('networks', { id, spec, allocation: null, pendingDelete: false })
  })
}

/** Returns a function that ends it. */
export function fakeAgents(node: FakeNode): () => void {
  const { store } = node
  return store.watch((event) => {
    if (event.kind !== 'changes') return
    const touched = event.changes.filter(isSpecChange)
    if (touched.length === 0) return
    void store.update((tx) => {
      for (const { table, object } of touched) {
        if (table === 'networks') settleNetwork(tx, object.id)
        else settleService(node, tx, object.id)
      }
    })
  })
}

type SpecChange = Change<'services'> | Change<'networks'>

function isSpecChange(change: Change): change is SpecChange {
  return (change.table === 'services' || change.table === 'networks') && change.kind !== 'remove'
}

function settleNetwork(tx: WriteTransaction, id: string): void {
  const network = tx.get('networks', id)
  if (network === undefined) return
  if (network.pendingDelete) tx.remove('networks', id)
  else if (network.allocation === null) tx.update('networks', allocated(tx, network))
}

function allocated(tx: WriteTransaction, network: NetworkObject): NetworkObject {
  const number = tx.all('networks').length
  const subnet = { subnet: `10.0.${number}.0/24`, gateway: `10.0.${number}.1` }
  return { ...network, allocation: { vni: 4096 + number, subnets: [subnet] } }
}

function settleService(node: FakeNode, tx: WriteTransaction, id: string): void {
  const service = tx.get('services', id)
  if (service === undefined) return
  const tasks = tx.find('tasks', 'service', id)
  if (service.pendingDelete) {
    for (const task of tasks) tx.remove('tasks', task.id)
    tx.remove('services', id)
    return
  }
  const nodeObject = tx.all('nodes')[0]
  const wanted = slotsOf(service)
  for (const task of tasks) {
    const isWanted = wanted.includes(task.slot) && !isTaskDirty(service, task, nodeObject)
    if (!isWanted && task.desiredState !== 'shutdown') {
      const status = { ...task.status, state: 'shutdown' as const, message: 'shutdown' }
      tx.update('tasks', { ...task, desiredState: 'shutdown', status })
    }
  }
  const live = tx
    .find('tasks', 'service', id)
    .filter(({ desiredState }) => desiredState !== 'shutdown')
  for (const slot of wanted) {
    if (!live.some((task) => task.slot === slot))
      tx.create('tasks', runningTask(node, tx, service, slot))
  }
  const needsAddress = service.spec.TaskTemplate.Networks !== undefined
  if (needsAddress && service.endpoint.virtualIps.length === 0) {
    tx.update('services', { ...service, endpoint: endpointOf(tx, service) })
    return
  }
  const isUpdated = service.previousSpec !== null && service.updateStatus?.state !== 'completed'
  if (isUpdated && service.updateStatus === null) {
    const nowMs = node.clock.wallMs()
    const status = { startedMs: nowMs, completedMs: nowMs, message: 'update completed' }
    tx.update('services', { ...service, updateStatus: { state: 'completed', ...status } })
  } else if (service.updateStatus?.state === 'rollback_started') {
    const status = { ...service.updateStatus, state: 'rollback_completed' as const }
    tx.update('services', {
      ...service,
      updateStatus: { ...status, message: 'rollback completed' },
    })
  }
}

/** An address on each network; 10.0.0.2 on ingress. */
function endpointOf(tx: WriteTransaction, { spec }: ServiceObject): ServiceObject['endpoint'] {
  const targets = (spec.TaskTemplate.Networks ?? []).map(({ Target }) => Target)
  const ingress = tx.find('networks', 'name', 'ingress').map(({ id }) => id)
  const networks = spec.EndpointSpec?.Ports === undefined ? targets : [...ingress, ...targets]
  return {
    spec: spec.EndpointSpec ?? {},
    ports: spec.EndpointSpec?.Ports ?? [],
    virtualIps: networks.map((networkId, at) => ({ networkId, address: `10.0.${at}.2/24` })),
  }
}

function slotsOf({ spec: { Mode } }: ServiceObject): (number | null)[] {
  const { Replicated, ReplicatedJob } = Mode
  if (Replicated !== undefined)
    return Array.from({ length: Replicated.Replicas }, (_, at) => at + 1)
  const total = ReplicatedJob?.TotalCompletions
  return total === undefined ? [null] : Array.from({ length: total }, (_, at) => at)
}

function runningTask(
  node: FakeNode,
  tx: WriteTransaction,
  service: ServiceObject,
  slot: number | null,
): Omit<TaskObject, 'meta'> {
  const nowMs = node.clock.wallMs()
  const isJob = service.jobStatus !== null
  const task = newTask(service, tx.cluster(), {
    id: newId((size) => node.random(size)),
    slot,
    nodeId: tx.all('nodes')[0]!.id,
    desiredState: isJob ? 'complete' : 'running',
    nowMs,
  })
  const networks = (service.spec.TaskTemplate.Networks ?? []).map(({ Target }) => ({
    networkId: Target,
    addresses: ['10.0.1.3/24'],
    aliases: [],
  }))
  const state = isJob ? ('complete' as const) : ('running' as const)
  const container = { id: 'c'.repeat(64), pid: isJob ? 0 : 42, exitCode: 0 }
  return {
    ...task,
    networks,
    status: { ...task.status, state, message: isJob ? 'finished' : 'started', container },
  }
}
