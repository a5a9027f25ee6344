// What a service's spec names and the API wants ids of: networks, secrets, configs; and the digest
// of its image, so that every node runs the same one.

import { isLocalImage } from '../stack/image-name.ts'
import type { Json } from '../stack/json.ts'
import type { ApiClient, Headers } from './api-client.ts'
import { CommandError } from './command-error.ts'
import type { Given } from './options.ts'
import { registryAuth } from './registry-auth.ts'
import { filterQuery } from './requests.ts'
import { getAt, setAt } from './service-spec.ts'

const NETWORKS = 'TaskTemplate.Networks'
const CONTAINER = 'TaskTemplate.ContainerSpec'
const IMAGE = `${CONTAINER}.Image`

async function networkId(api: ApiClient, name: string): Promise<string> {
  const path = `/networks/${encodeURIComponent(name)}?scope=swarm`
  return (await api.ask<{ Id: string }>('GET', path)).Id
}

/** Takes networks away, by name or id. */
export async function withoutNetworks(
  api: ApiClient,
  spec: Json,
  names: readonly string[],
): Promise<Json> {
  const known = getAt(spec, NETWORKS) as { Target: string }[] | undefined
  if (names.length === 0 || known === undefined) return spec
  const removed = new Set(await Promise.all(names.map((name) => networkId(api, name))))
  const left = structuredClone(spec)
  setAt(
    left,
    NETWORKS,
    known.filter(({ Target }) => !removed.has(Target)),
  )
  return left
}

/** Puts ids into `spec`, which it changes. Throws for what is not there. */
export async function resolveReferences(api: ApiClient, spec: Json): Promise<void> {
  const networks = (getAt(spec, NETWORKS) as { Target: string }[] | undefined) ?? []
  const seen = new Set<string>()
  for (const network of networks) {
    const name = network.Target
    network.Target = await networkId(api, name)
    if (seen.has(network.Target)) {
      throw new CommandError(`service is already attached to network ${name}`)
    }
    seen.add(network.Target)
  }
  await resolveFiles(api, spec, 'Secret')
  await resolveFiles(api, spec, 'Config')
}

async function resolveFiles(api: ApiClient, spec: Json, kind: 'Secret' | 'Config'): Promise<void> {
  const references = (getAt(spec, `${CONTAINER}.${kind}s`) as Json[] | undefined) ?? []
  const nameOf = (reference: Json): string => String(reference[`${kind}Name`])
  const open = references.filter((one) => one[`${kind}ID`] === undefined)
  if (open.length === 0) return
  const noun = kind.toLowerCase()
  const query = filterQuery(open.map((one) => `name=${nameOf(one)}`))
  const found = await api.ask<{ ID: string; Spec: { Name: string } }[]>('GET', `/${noun}s?${query}`)
  const ids = new Map(found.map(({ ID, Spec }) => [Spec.Name, ID]))
  for (const reference of open) {
    const id = ids.get(nameOf(reference))
    if (id === undefined) throw new CommandError(`${noun} not found: ${nameOf(reference)}`)
    reference[`${kind}ID`] = id
  }
}

interface Distribution {
  readonly Descriptor?: { readonly digest?: string }
  readonly Platforms?: readonly { readonly architecture?: string; readonly os?: string }[] | null
}

/** The header with the credentials for a spec's image, where `--with-registry-auth` asks for it. */
export async function authFor(given: Given, spec: Json): Promise<Headers> {
  if (!given.flag('with-registry-auth')) return {}
  const auth = await registryAuth(String(getAt(spec, IMAGE) ?? ''))
  return auth === undefined ? {} : { 'x-registry-auth': auth }
}

/** Pins the image to its digest, and the tasks to platforms it is made for. Where the registry
 * cannot be asked the spec stays as it is; returns what to tell of that, or null. */
export async function pinImage(api: ApiClient, spec: Json, auth: Headers): Promise<string | null> {
  const image = String(getAt(spec, IMAGE) ?? '')
  if (isLocalImage(image) || image.includes('@')) return null
  const path = `/distribution/${encodeURI(image)}/json`
  const { status, json } = await api.call('GET', path, undefined, auth)
  const { Descriptor, Platforms } = Object(json) as Distribution
  const digest = Descriptor?.digest
  if (status >= 400 || digest === undefined) {
    return (
      `image ${image} could not be accessed on a registry to record\n` +
      `its digest. Each node will access ${image} independently,\n` +
      'possibly leading to different nodes running different\n' +
      'versions of the image.\n'
    )
  }
  setAt(spec, IMAGE, `${image}@${digest}`)
  if (Array.isArray(Platforms) && Platforms.length > 0) {
    // Manifests do not tell which ARM it is well enough to rely on.
    const platforms = Platforms.map(({ architecture = '', os = '' }) => ({
      Architecture: architecture === 'arm' ? '' : architecture,
      OS: os,
    }))
    setAt(spec, 'TaskTemplate.Placement.Platforms', platforms)
  }
  return null
}
