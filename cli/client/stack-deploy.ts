// `weft stack deploy`: what a compose file says becomes what is in the cluster. In the order in
// which things need one another: networks, secrets, configs, services. What is there already is
// changed where it differs and can be; a network cannot be.

import { readFileSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import process from 'node:process'
import { isPredefined } from '../../controlplane/store/predefined-networks.ts'
import { fileReason } from '../key-file.ts'
import { convertStack, type Stack, type StackObject } from '../stack/convert.ts'
import { NAMESPACE_LABEL } from '../stack/convert-service.ts'
import type { Json } from '../stack/json.ts'
import { YAML_BYTES_MAX, YamlFile } from '../stack/yaml-reader.ts'
import type { Headers } from './api-client.ts'
import type { CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { converge } from './converge.ts'
import { filterQuery, info, type Versioned } from './requests.ts'
import { authFor, pinImage, resolveReferences } from './service-references.ts'
import { getAt, setAt } from './service-spec.ts'

interface ShownService extends Versioned {
  readonly Spec: Json
}

const STDIN = 0
const NAMESPACE = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/

/** The filter that finds what belongs to a stack. */
export function stackFilter(namespace: string): string {
  return `label=${NAMESPACE_LABEL}=${namespace}`
}

export function checkNamespace(namespace: string): void {
  if (NAMESPACE.test(namespace)) return
  throw new CommandError(`invalid stack name: ${JSON.stringify(namespace)}`)
}

function read(path: string): Buffer {
  try {
    if (path !== '-' && statSync(path).size > YAML_BYTES_MAX) {
      throw new CommandError(`${path} is larger than ${YAML_BYTES_MAX} bytes`)
    }
    return readFileSync(path === '-' ? STDIN : path)
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw new CommandError(`open ${path}: ${fileReason(error)}`)
  }
}

/** The stack of compose files, of which later ones go over earlier ones; their paths are relative
 * to the first. Throws with every fault, each at its place. */
export function readStack(paths: readonly string[], namespace: string): Stack {
  const files = paths.map((path) => {
    const name = path === '-' ? 'standard input' : path
    return new YamlFile(name, read(path).toString('utf8'), process.env)
  })
  const [first] = paths as [string]
  const directory = first === '-' ? process.cwd() : resolve(dirname(first))
  return convertStack(files, {
    namespace,
    directory,
    readFile: (one) => read(resolve(directory, one)),
  })
}

export async function deploy(call: CommandCall): Promise<number> {
  const [namespace] = call.operands as [string]
  checkNamespace(namespace)
  const files = call.list('compose-file')
  if (files.length === 0)
    throw new CommandError('please specify a Compose file (with --compose-file)')
  const resolving = call.text('resolve-image') ?? 'always'
  if (!['always', 'changed', 'never'].includes(resolving)) {
    throw new CommandError(`Invalid option ${resolving} for flag --resolve-image`)
  }
  const stack = readStack(files, namespace)
  for (const warning of stack.warnings) call.terminal.err(`${warning}\n\n`)
  if (!(await info(call.api)).Swarm.ControlAvailable) {
    throw new CommandError(
      'this node is not a swarm manager. Use "weft swarm init" or "weft swarm join" to connect ' +
        'this node to swarm and try again',
    )
  }
  if (call.flag('prune')) await prune(call, stack)
  await checkExternal(call, stack)
  await createNetworks(call, stack)
  for (const noun of ['secret', 'config'] as const) {
    for (const object of stack[`${noun}s`]) await deployFile(call, noun, object)
  }
  const ids = await deployServices(call, stack, resolving)
  // The docker CLI waits only where it is told to.
  if (call.isGiven('detach') && !call.flag('detach')) {
    for (const id of ids) await converge(call, id, { isQuiet: call.flag('quiet') })
  }
  return 0
}

function servicesOf(call: CommandCall, namespace: string): Promise<ShownService[]> {
  return call.api.ask('GET', `/services?${filterQuery([stackFilter(namespace)])}`)
}

async function prune(call: CommandCall, { namespace, services }: Stack): Promise<void> {
  const wanted = new Set(services.map(({ name }) => name))
  for (const { ID, Spec } of await servicesOf(call, namespace)) {
    if (wanted.has(String(Spec.Name))) continue
    call.print(`Removing service ${Spec.Name}`)
    await call.api.ask('DELETE', `/services/${ID}`)
  }
}

async function checkExternal(call: CommandCall, { externalNetworks }: Stack): Promise<void> {
  for (const name of externalNetworks.filter((one) => !isPredefined(one))) {
    const { status, json } = await call.api.call('GET', `/networks/${encodeURIComponent(name)}`)
    if (status === 404) {
      throw new CommandError(
        `network "${name}" is declared as external, but could not be found. You need to create a ` +
          'swarm-scoped network before the stack is deployed',
      )
    }
    const { Scope } = Object(json) as { Scope?: string }
    if (Scope !== 'swarm') {
      throw new CommandError(
        `network "${name}" is declared as external, but it is not in the right scope: ` +
          `"${Scope ?? 'unknown'}" instead of "swarm"`,
      )
    }
  }
}

async function createNetworks(call: CommandCall, { namespace, networks }: Stack): Promise<void> {
  const query = filterQuery([stackFilter(namespace)])
  const found = await call.api.ask<{ Name: string }[]>('GET', `/networks?${query}`)
  const known = new Set(found.map(({ Name }) => Name))
  for (const { name, spec } of networks) {
    if (known.has(name)) continue
    call.print(`Creating network ${name}`)
    await call.api.ask('POST', '/networks/create', spec)
  }
}

async function deployFile(
  call: CommandCall,
  noun: 'secret' | 'config',
  { name, spec }: StackObject,
): Promise<void> {
  const path = `/${noun}s/${encodeURIComponent(name)}`
  const { status, json } = await call.api.call('GET', path)
  if (status === 404) {
    call.print(`Creating ${noun} ${name}`)
    await call.api.ask('POST', `/${noun}s/create`, spec)
    return
  }
  const { ID, Version } = json as Versioned
  try {
    await call.api.ask('POST', `/${noun}s/${ID}/update?version=${Version.Index}`, spec)
  } catch (error) {
    throw new CommandError(`failed to update ${noun} ${name}: ${(error as Error).message}`)
  }
}

async function deployServices(
  call: CommandCall,
  { namespace, services }: Stack,
  resolving: string,
): Promise<string[]> {
  const known = new Map(
    (await servicesOf(call, namespace)).map((service) => [String(service.Spec.Name), service]),
  )
  const ids: string[] = []
  for (const { name, spec: planned } of services) {
    const spec = structuredClone(planned)
    await resolveReferences(call.api, spec)
    const before = known.get(name)
    const image = getAt(spec, IMAGE)
    const hasNewImage = before === undefined || imageOf(before.Spec) !== image
    const isResolved = resolving === 'always' || (resolving === 'changed' && hasNewImage)
    const auth = await authFor(call, spec)
    const warning = isResolved ? await pinImage(call.api, spec, auth) : null
    if (warning !== null && !call.flag('quiet')) call.terminal.err(`${warning}\n`)
    if (!isResolved && before !== undefined && !hasNewImage) {
      // Not asked for: the digest of the last time stays.
      setAt(spec, IMAGE, getAt(before.Spec, IMAGE))
    }
    ids.push(await deployService(call, name, { spec, auth }, before))
  }
  return ids
}

const IMAGE = 'TaskTemplate.ContainerSpec.Image'
const imageOf = (spec: Json): string => String(getAt(spec, IMAGE) ?? '').replace(/@sha256:.*$/, '')

async function deployService(
  call: CommandCall,
  name: string,
  { spec, auth }: { readonly spec: Json; readonly auth: Headers },
  before: ShownService | undefined,
): Promise<string> {
  try {
    if (before === undefined) {
      call.print(`Creating service ${name}`)
      return (await call.api.ask<{ ID: string }>('POST', '/services/create', spec, auth)).ID
    }
    call.print(`Updating service ${name} (id: ${before.ID})`)
    // An update that was forced once must not be forced again by the next deploy.
    setAt(spec, 'TaskTemplate.ForceUpdate', getAt(before.Spec, 'TaskTemplate.ForceUpdate') ?? 0)
    const path = `/services/${before.ID}/update?version=${before.Version.Index}`
    const { Warnings } = Object(await call.api.ask('POST', path, spec, auth)) as {
      Warnings?: string[]
    }
    for (const warning of Warnings ?? []) call.terminal.err(`${warning}\n`)
    return before.ID
  } catch (error) {
    const verb = before === undefined ? 'create' : 'update'
    throw new CommandError(`failed to ${verb} service ${name}: ${(error as Error).message}`)
  }
}
