// What a task is called, and what its placeholders mean (SwarmKit, template/context.go).

import type { AssignedTask, DataItem } from '../store/assignment.ts'
import { expandTemplate, isTemplate, type TemplateContext } from '../store/template.ts'
import type { TaskHost } from './executor.ts'

/** "web.1.TASKID", or "web.NODEID.TASKID" for a task of a global service. */
export function taskName(task: {
  readonly id: string
  readonly slot: number | null
  readonly nodeId: string
  readonly serviceName: string
}): string {
  return `${task.serviceName}.${task.slot ?? task.nodeId}.${task.id}`
}

export function nameOf({ id, slot, nodeId, serviceAnnotations }: AssignedTask): string {
  return taskName({ id, slot, nodeId, serviceName: serviceAnnotations.name })
}

/** The placeholders of environment, host name and mounts. */
export function taskContext(task: AssignedTask, host: TaskHost): TemplateContext {
  const { name, labels } = task.serviceAnnotations
  return {
    fields: {
      Service: { ID: task.serviceId, Name: name, Labels: labels },
      Node: {
        ID: host.node.id,
        Hostname: host.node.hostname,
        Platform: { OS: 'linux', Architecture: process.arch === 'arm64' ? 'aarch64' : 'x86_64' },
      },
      Task: { ID: task.id, Name: nameOf(task), Slot: String(task.slot ?? task.nodeId) },
    },
    functions: {},
  }
}

/** The environment of the task, placeholders replaced. Throws TemplateError. */
export function environmentOf(task: AssignedTask, host: TaskHost): string[] {
  const context = taskContext(task, host)
  return (task.spec.ContainerSpec?.Env ?? []).map((line) => expandTemplate(line, context))
}

/** Which generic resources the task was given: "DOCKER_RESOURCE_GPU=UUID1,UUID2" (SwarmKit,
 * api/genericresource). */
export function resourceEnvironment({ assignedGenericResources }: AssignedTask): string[] {
  const values = new Map<string, (string | number)[]>()
  for (const { NamedResourceSpec, DiscreteResourceSpec } of assignedGenericResources) {
    const given = NamedResourceSpec ?? DiscreteResourceSpec
    if (given === undefined) continue
    values.set(given.Kind, [...(values.get(given.Kind) ?? []), given.Value])
  }
  return [...values].map(([kind, all]) => `DOCKER_RESOURCE_${kind.toUpperCase()}=${all.join(',')}`)
}

export interface TaskFile {
  readonly bytes: Uint8Array
  /** Absolute path in the task's view. */
  readonly target: string
  readonly uid: number
  readonly gid: number
  readonly mode: number
  readonly isSecret: boolean
}

const SECRETS_DIRECTORY = '/run/secrets'

/** The secrets and configs of the task as files, templates carried out. Throws TemplateError, or
 * an Error for one that is not there. */
export function filesOf(task: AssignedTask, host: TaskHost): TaskFile[] {
  const container = task.spec.ContainerSpec
  const files: TaskFile[] = []
  for (const { File, SecretID, SecretName } of container?.Secrets ?? []) {
    if (File === undefined) continue
    const item = host.secret(SecretID)
    if (item === undefined) throw new Error(`secret ${SecretName} is not available`)
    const target = File.Name.startsWith('/') ? File.Name : `${SECRETS_DIRECTORY}/${File.Name}`
    files.push({ ...placed(File, target), bytes: contentOf(item, task, host), isSecret: true })
  }
  for (const { File, ConfigID, ConfigName } of container?.Configs ?? []) {
    if (File === undefined) continue
    const item = host.config(ConfigID)
    if (item === undefined) throw new Error(`config ${ConfigName} is not available`)
    const target = File.Name.startsWith('/') ? File.Name : `/${File.Name}`
    files.push({ ...placed(File, target), bytes: contentOf(item, task, host), isSecret: false })
  }
  return files
}

function placed(
  file: { readonly UID: string; readonly GID: string; readonly Mode: number },
  target: string,
): Omit<TaskFile, 'bytes' | 'isSecret'> {
  if (target.split('/').includes('..')) throw new Error(`${target} is no place for a file`)
  return { target, uid: Number(file.UID), gid: Number(file.GID), mode: file.Mode & 0o7777 }
}

function contentOf(item: DataItem, task: AssignedTask, host: TaskHost): Uint8Array {
  const bytes = Buffer.from(item.data, 'base64')
  if (item.templating === null) return bytes
  if (item.templating.Name !== 'golang') {
    throw new Error(`template driver "${item.templating.Name}" is not supported`)
  }
  const text = bytes.toString('utf8')
  return isTemplate(text) ? Buffer.from(expandTemplate(text, fileContext(task, host))) : bytes
}

/** Templates of secrets and configs see the others by the name of their file, and the
 * environment. */
function fileContext(task: AssignedTask, host: TaskHost): TemplateContext {
  const container = task.spec.ContainerSpec
  const content = (item: DataItem | undefined, name: string, kind: string): string => {
    if (item === undefined) throw new Error(`${kind} target ${name} not found`)
    return Buffer.from(item.data, 'base64').toString('utf8')
  }
  const secret = (name: string): string => {
    const reference = container?.Secrets?.find(({ File }) => File?.Name === name)
    return content(reference && host.secret(reference.SecretID), name, 'secret')
  }
  const config = (name: string): string => {
    const reference = container?.Configs?.find(({ File }) => File?.Name === name)
    return content(reference && host.config(reference.ConfigID), name, 'config')
  }
  const env = (name: string): string => {
    const line = environmentOf(task, host).find((entry) => entry.startsWith(`${name}=`))
    return line === undefined ? '' : line.slice(name.length + 1)
  }
  return { ...taskContext(task, host), functions: { secret, config, env } }
}
