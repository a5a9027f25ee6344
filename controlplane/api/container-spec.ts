// swarm.ContainerSpec: image, mounts, health check, secrets and configs, as far as they can be
// checked by themselves (swarmkit, manager/controlapi/service.go).

import type { ContainerSpec, FileTarget, Mount } from '../store/specs.ts'
import { badRequest, invalidArgument } from './errors.ts'

const MILLISECOND_NS = 1e6
const MOUNT_TYPES = ['bind', 'volume', 'tmpfs', 'npipe', 'cluster', 'image']
/** Repository, tag and digest of an image (distribution, reference/regexp.go), with a host in
 * front; and the process executor's "file:///DIRECTORY". */
const COMPONENT = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const HOST = '(?:[A-Za-z0-9.-]+|\\[[0-9a-fA-F:]+\\])(?::\\d+)?/'
const IMAGE = new RegExp(
  `^(?:${HOST})?${COMPONENT}(?:/${COMPONENT})*(?::\\w[\\w.-]{0,127})?` +
    '(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$',
)
const DIRECTORY = /^file:\/\/\/[^\0]*$/
const IMAGE_LENGTH_MAX = 4096

/** Windows' isolation and a bind mount are what is meant where nothing is said. */
export function completeContainer(given: ContainerSpec): ContainerSpec {
  const { Mounts } = given
  const mounts = Mounts?.map((mount): Mount => ({ ...mount, Type: mount.Type ?? 'bind' }))
  return {
    ...given,
    ...(mounts === undefined ? {} : { Mounts: mounts }),
    Isolation: given.Isolation ?? 'default',
  }
}

export function checkContainer(spec: ContainerSpec): void {
  checkImage(spec.Image)
  checkMounts(spec.Mounts ?? [])
  checkHealth(spec)
  checkStopGracePeriod(spec)
  checkPrivileges(spec)
  checkReferences(spec)
}

function checkImage(image: string | undefined): void {
  if (image === undefined || image === '') {
    throw invalidArgument('ContainerSpec: image reference must be provided')
  }
  const isImage = image.length <= IMAGE_LENGTH_MAX && (IMAGE.test(image) || DIRECTORY.test(image))
  if (!isImage) {
    throw invalidArgument(`ContainerSpec: ${JSON.stringify(image)} is not a valid repository/tag`)
  }
}

function checkMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>()
  for (const { Type, Source, Target } of mounts) {
    if (!MOUNT_TYPES.includes(Type)) {
      throw badRequest(`invalid MountType: ${JSON.stringify(Type)}`)
    }
    if (Target === undefined) throw invalidArgument('ContainerSpec: mount target must be provided')
    if (Type === 'bind' && Source === undefined) {
      throw invalidArgument(`ContainerSpec: bind mount ${Target} has no source`)
    }
    if (targets.has(Target)) {
      throw invalidArgument(`ContainerSpec: duplicate mount point: ${Target}`)
    }
    targets.add(Target)
  }
}

function checkHealth({ Healthcheck: health }: ContainerSpec): void {
  if (health === undefined) return
  for (const field of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const) {
    const value = health[field] ?? 0
    if (value !== 0 && value < MILLISECOND_NS) {
      throw invalidArgument(`ContainerSpec: ${field} in HealthConfig cannot be less than 1ms`)
    }
  }
  if ((health.Retries ?? 0) < 0) {
    throw invalidArgument('ContainerSpec: Retries in HealthConfig cannot be negative')
  }
}

function checkStopGracePeriod({ StopGracePeriod = 0 }: ContainerSpec): void {
  if (StopGracePeriod < 0) {
    throw invalidArgument('ContainerSpec: StopGracePeriod cannot be negative')
  }
}

/** Of Windows alone; kept, and without effect. */
function checkPrivileges({ Privileges }: ContainerSpec): void {
  const credentials = Privileges?.CredentialSpec as Readonly<Record<string, string>> | undefined
  if (credentials === undefined) return
  if (Object.values(credentials).some((value) => value !== '')) return
  throw badRequest(
    'invalid CredentialSpec: must either provide "file", "registry", or "config" for credential ' +
      'spec',
  )
}

/** Two files cannot stand in one place, and each reference needs id and name. */
function checkReferences({ Secrets = [], Configs = [] }: ContainerSpec): void {
  const secrets = Secrets.map(({ SecretID: id, SecretName: name, File }) => ({ id, name, File }))
  checkFiles('secret', secrets)
  for (const { File, Runtime } of Configs) {
    if (File !== undefined && Runtime !== undefined) {
      throw badRequest('invalid Config: cannot specify both File and Runtime')
    }
    if (File === undefined && Runtime === undefined) {
      throw badRequest('invalid Config: either File or Runtime should be set')
    }
  }
  const files = Configs.filter(({ Runtime }) => Runtime === undefined)
  checkFiles(
    'config',
    files.map(({ ConfigID: id, ConfigName: name, File }) => ({ id, name, File })),
  )
}

function checkFiles(
  noun: 'secret' | 'config',
  references: readonly {
    readonly id: string
    readonly name: string
    readonly File?: FileTarget | undefined
  }[],
): void {
  const taken = new Map<string, string>()
  for (const { id, name, File } of references) {
    if (id === '' || name === '') throw invalidArgument(`malformed ${noun} reference`)
    if (File === undefined) {
      throw invalidArgument(`malformed ${noun} reference, no target provided`)
    }
    const target = File.Name
    if (target === '') {
      throw invalidArgument(`malformed file ${noun} reference, invalid target file name provided`)
    }
    const other = taken.get(target)
    if (other !== undefined) {
      throw invalidArgument(
        `${noun} references '${other}' and '${name}' have a conflicting target: '${target}'`,
      )
    }
    taken.set(target, name)
  }
}
