// Placeholders of a service's tasks ({{.Task.Slot}} and the like) are tried out on a made-up task
// before the service is written: a wrong one would be known only when a node wants to start the
// first (swarmkit, manager/controlapi/service.go).

import type { Mount, ServiceSpec } from '../store/specs.ts'
import { expandTemplate, type TemplateContext } from '../store/template.ts'
import { invalidArgument } from './errors.ts'

/** Throws 400 where the environment, the host name or a mount names what is not there. */
export function checkPlaceholders(spec: ServiceSpec): void {
  const container = spec.TaskTemplate.ContainerSpec
  if (container === undefined) return
  const context = madeUp(spec)
  const check = (what: string, texts: readonly (string | undefined)[]): void => {
    try {
      for (const text of texts) expandTemplate(text ?? '', context)
    } catch (error) {
      throw invalidArgument(`expanding ${what} failed: ${(error as Error).message}`)
    }
  }
  check('env', container.Env ?? [])
  check('mounts', (container.Mounts ?? []).flatMap(textsOf))
  check('hostname', [container.Hostname])
}

function textsOf({ Source, Target, VolumeOptions }: Mount): (string | undefined)[] {
  const labels = Object.values(VolumeOptions?.Labels ?? {})
  return [Source, Target, ...labels, ...Object.values(VolumeOptions?.DriverConfig?.Options ?? {})]
}

function madeUp({ Name, Labels }: ServiceSpec): TemplateContext {
  return {
    fields: {
      Service: { ID: 'serviceid', Name, Labels: { ...Labels } },
      Node: {
        ID: 'nodeid',
        Hostname: 'nodeHostname',
        Platform: { OS: 'linux', Architecture: 'x86_64' },
      },
      Task: { ID: 'taskid', Name: 'taskname', Slot: '1' },
    },
    functions: {},
  }
}
