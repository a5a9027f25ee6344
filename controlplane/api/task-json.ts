// swarm.Task as JSON: the task, its networks as they are now, and its state.

import type { ReadTransaction } from '../store/contract.ts'
import type { NetworkObject, TaskObject } from '../store/objects.ts'
import { networkOptions } from './network-json.ts'
import { head, omitEmpty, time, version } from './render.ts'
import { shownTask } from './service-json.ts'

export function taskJson(
  tx: ReadTransaction,
  task: TaskObject,
  minor: number,
): Record<string, unknown> {
  const { serviceId, slot, nodeId, jobIteration, assignedGenericResources: generic } = task
  const attachments = attachmentsJson(tx, task)
  return {
    ...head(task),
    Labels: {},
    Spec: specJson(task),
    ...omitEmpty({ ServiceID: serviceId, Slot: slot ?? 0, NodeID: nodeId }),
    ...(generic.length === 0 ? {} : { AssignedGenericResources: generic }),
    Status: statusJson(task),
    DesiredState: task.desiredState,
    ...(attachments.length === 0 ? {} : { NetworksAttachments: attachments }),
    ...(jobIteration === null ? {} : { JobIteration: version(jobIteration) }),
    ...(minor < 42 ? {} : { Volumes: null }),
  }
}

/** The runtime of containers goes without saying. */
function specJson({ spec }: TaskObject): Record<string, unknown> {
  const { Runtime, ...shown } = shownTask(spec)
  return Runtime === 'container' ? shown : { ...shown, Runtime }
}

function statusJson({ status }: TaskObject): Record<string, unknown> {
  const { atMs, state, message, error, container, hostPorts } = status
  return {
    Timestamp: time(atMs),
    State: state,
    Message: message,
    ...omitEmpty({ Err: error }),
    ...(container === null
      ? {}
      : {
          ContainerStatus: {
            ContainerID: container.id,
            PID: container.pid,
            ExitCode: container.exitCode,
          },
        }),
    PortStatus: hostPorts.length === 0 ? {} : { Ports: hostPorts },
  }
}

function attachmentsJson(tx: ReadTransaction, { networks }: TaskObject) {
  return networks.flatMap(({ networkId, addresses, forHostPorts }) => {
    if (forHostPorts) return []
    const network = tx.get('networks', networkId)
    return network === undefined ? [] : [{ Network: networkJson(network), Addresses: addresses }]
  })
}

/** swarm.Network, which is not how /networks shows one. */
function networkJson(network: NetworkObject): Record<string, unknown> {
  const { spec, allocation } = network
  const { Driver, Internal, Attachable, Ingress, IPAM } = spec
  const subnets = allocation?.subnets ?? []
  return {
    ...head(network),
    Spec: {
      Name: spec.Name,
      Labels: spec.Labels,
      DriverConfiguration: Ingress === true ? {} : { Name: Driver },
      ...omitEmpty({ IPv6Enabled: spec.EnableIPv6, Internal, Attachable, Ingress }),
      IPAMOptions: { Driver: omitEmpty({ Name: IPAM?.Driver }) },
      Scope: 'swarm',
    },
    DriverState: { Name: 'overlay', Options: networkOptions(network) },
    IPAMOptions: {
      Driver: { Name: 'default' },
      ...(subnets.length === 0
        ? {}
        : {
            Configs: subnets.map(({ subnet, gateway, ipRange }) => ({
              Subnet: subnet,
              ...omitEmpty({ Range: ipRange }),
              Gateway: gateway,
            })),
          }),
    },
  }
}
