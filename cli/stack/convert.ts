// A compose file as a stack: what is to be in the cluster, in the words of the Engine API. Pure but
// for the files that it names, which it is handed a reader for.

import { convertService, DEPRECATED, NAMESPACE_LABEL, UNSUPPORTED } from './convert-service.ts'
import type { Json } from './json.ts'
import { mergeFiles } from './merge.ts'
import type { StackNames, VolumePlan } from './names.ts'
import { checkFiles, type Value, type YamlFile } from './yaml-reader.ts'

export interface StackObject {
  /** Name in the cluster. */
  readonly name: string
  /** Body of the request that creates it. */
  readonly spec: Json
}

export interface Stack {
  readonly namespace: string
  readonly networks: readonly StackObject[]
  readonly secrets: readonly StackObject[]
  readonly configs: readonly StackObject[]
  readonly services: readonly StackObject[]
  /** Networks that must be there already, by name. */
  readonly externalNetworks: readonly string[]
  /** What the file asks for and a stack has no use for. */
  readonly warnings: readonly string[]
}

export interface ConvertOptions {
  readonly namespace: string
  /** Directory of the first compose file, absolute. */
  readonly directory: string
  /** Reads a file named in the compose file. Throws with a sentence. */
  readonly readFile: (path: string) => Uint8Array
}

/** Converts one file, or several of which later ones go over earlier ones. Throws ComposeError with
 * everything that is wrong with them. */
export function convertStack(files: readonly YamlFile[], options: ConvertOptions): Stack {
  checkFiles(files)
  const root = mergeFiles(files)
  checkFiles(files)
  if (!root.isMap) root.problem('Top-level object must be a mapping')
  root.allow(['version', 'name', 'services', 'networks', 'volumes', 'secrets', 'configs'])
  checkVersion(root.get('version'))
  const converter = new Converter(options)
  const stack = converter.convert(root)
  checkFiles(files)
  return stack
}

function checkVersion(version: Value): void {
  if (version.isMissing) return
  const text = version.text()
  if (!/^3(\.\d+)?$/.test(text)) version.problem(`unsupported Compose file version: ${text}`)
}

const usedNetworks = (service: Value): string[] => {
  const networks = service.get('networks')
  if (networks.isMissing) return ['default']
  return networks.isList ? networks.texts() : networks.keys()
}

class Converter {
  readonly #options: ConvertOptions
  readonly #externalNetworks: string[] = []

  constructor(options: ConvertOptions) {
    this.#options = options
  }

  convert(root: Value): Stack {
    const { namespace, directory, readFile } = this.#options
    const services = root.get('services')
    const entries = services.entries()
    if (root.isMap && entries.length === 0) services.problem('the file has no services')
    const used = new Set(entries.flatMap(([, service]) => usedNetworks(service)))
    const networks = this.#networks(root.get('networks'), used)
    const secrets = this.#files(root.get('secrets'))
    const configs = this.#files(root.get('configs'))
    const names: StackNames = {
      namespace,
      networks: networks.names,
      secrets: secrets.names,
      configs: configs.names,
      volumes: this.#volumes(root.get('volumes')),
      directory,
      readText: (path) => Buffer.from(readFile(path)).toString('utf8'),
    }
    return {
      namespace,
      networks: networks.objects,
      secrets: secrets.objects,
      configs: configs.objects,
      services: entries.map(([name, service]) => ({
        name: `${namespace}_${name}`,
        spec: convertService(name, service, names),
      })),
      externalNetworks: this.#externalNetworks,
      warnings: warningsOf(entries),
    }
  }

  /** The name of something of the file in the cluster: its own, or the stack's and the key. */
  #named(key: string, value: Value): string {
    return value.get('name').optionalText() ?? `${this.#options.namespace}_${key}`
  }

  /** Name of what is external, undefined when it is not. */
  #external(key: string, value: Value): string | undefined {
    const external = value.get('external')
    if (external.isMap) return external.get('name').optionalText() ?? key
    if (external.flag() !== true) return undefined
    return value.get('name').optionalText() ?? key
  }

  #networks(
    value: Value,
    used: ReadonlySet<string>,
  ): { names: Map<string, string>; objects: StackObject[] } {
    const { namespace } = this.#options
    const names = new Map<string, string>()
    const objects: StackObject[] = []
    const label = { [NAMESPACE_LABEL]: namespace }
    for (const [key, network] of value.entries()) {
      network.allow([
        'driver',
        'driver_opts',
        'ipam',
        'external',
        'internal',
        'attachable',
        'labels',
        'name',
        'enable_ipv6',
      ])
      const external = this.#external(key, network)
      const name = external ?? this.#named(key, network)
      names.set(key, name)
      if (external !== undefined) {
        if (used.has(key)) this.#externalNetworks.push(name)
        continue
      }
      if (!used.has(key)) continue
      objects.push({ name, spec: networkSpec(name, network, label) })
    }
    if (used.has('default') && !names.has('default')) {
      const name = `${namespace}_default`
      names.set('default', name)
      objects.push({ name, spec: { Name: name, Driver: 'overlay', Labels: label } })
    }
    return { names, objects }
  }

  #files(value: Value): { names: Map<string, string>; objects: StackObject[] } {
    const names = new Map<string, string>()
    const objects: StackObject[] = []
    for (const [key, entry] of value.entries()) {
      entry.allow([
        'file',
        'external',
        'labels',
        'name',
        'driver',
        'driver_opts',
        'template_driver',
      ])
      const external = this.#external(key, entry)
      const name = external ?? this.#named(key, entry)
      names.set(key, name)
      if (external === undefined) objects.push({ name, spec: this.#fileSpec(name, entry) })
    }
    return { names, objects }
  }

  #fileSpec(name: string, entry: Value): Json {
    const labels = { ...entry.get('labels').labels(), [NAMESPACE_LABEL]: this.#options.namespace }
    const template = entry.get('template_driver').optionalText()
    const driver = entry.get('driver').optionalText()
    const file = entry.get('file')
    let data = ''
    if (driver === undefined) {
      if (file.isMissing) entry.problem('needs a file, or external: true')
      else data = this.#read(file)
    }
    return {
      Name: name,
      Labels: labels,
      ...(driver === undefined
        ? { Data: data }
        : { Driver: { Name: driver, Options: entry.get('driver_opts').labels() } }),
      ...(template === undefined ? {} : { Templating: { Name: template } }),
    }
  }

  #read(file: Value): string {
    try {
      return Buffer.from(this.#options.readFile(file.text())).toString('base64')
    } catch (error) {
      file.problem((error as Error).message)
      return ''
    }
  }

  #volumes(value: Value): Map<string, VolumePlan> {
    const label = { [NAMESPACE_LABEL]: this.#options.namespace }
    return new Map(
      value.entries().map(([key, volume]) => {
        if (!volume.isMissing) {
          volume.allow(['driver', 'driver_opts', 'external', 'labels', 'name'])
        }
        const external = volume.isMissing ? undefined : this.#external(key, volume)
        const plan: VolumePlan = {
          name: external ?? this.#named(key, volume),
          driver: volume.get('driver').text(),
          options: volume.get('driver_opts').labels(),
          labels: external === undefined ? { ...volume.get('labels').labels(), ...label } : {},
        }
        return [key, plan]
      }),
    )
  }
}

function networkSpec(name: string, network: Value, label: Record<string, string>): Json {
  const ipam = network.get('ipam')
  ipam.allow(['driver', 'config', 'options'])
  const config = ipam
    .get('config')
    .list()
    .map((entry) => ({ Subnet: entry.get('subnet').text(), ...gateway(entry) }))
  const driver = network.get('driver').optionalText()
  return {
    Name: name,
    Driver: driver ?? 'overlay',
    Labels: { ...network.get('labels').labels(), ...label },
    Options: network.get('driver_opts').labels(),
    ...(network.get('internal').flag() ? { Internal: true } : {}),
    ...(network.get('attachable').flag() ? { Attachable: true } : {}),
    ...(network.get('enable_ipv6').flag() ? { EnableIPv6: true } : {}),
    ...(ipam.isMissing
      ? {}
      : { IPAM: { Driver: ipam.get('driver').text('default'), Config: config } }),
  }
}

function gateway(entry: Value): Json {
  const text = entry.get('gateway').optionalText()
  return text === undefined ? {} : { Gateway: text }
}

/** What the docker CLI says of keys that it passes over. */
function warningsOf(services: readonly [string, Value][]): string[] {
  const seen = (keys: readonly string[]): string[] =>
    keys.filter((key) => services.some(([, service]) => !service.get(key).isMissing))
  const unsupported = seen(UNSUPPORTED)
  const deprecated = seen(DEPRECATED)
  return [
    ...(unsupported.length > 0 ? [`Ignoring unsupported options: ${unsupported.join(', ')}`] : []),
    ...(deprecated.length > 0 ? [`Ignoring deprecated options: ${deprecated.join(', ')}`] : []),
  ]
}
