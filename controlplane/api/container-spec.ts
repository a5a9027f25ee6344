// swarm.ContainerSpec: image, mounts, health check, secrets and configs, as far as they can be
// checked by themselves (swarmkit, manager/controlapi/service.go).

import type { ContainerSpec, FileTarget, Mount } from '../store/specs.ts'
import { badRequest, invalidArgument } from './errors.ts'

const MILLISECOND_NS = 1e6
const MOUNT_TYPES = ['bind', 'volume', 'tmpfs', 'npipe', 'image']
const PROPAGATIONS = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave']
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
/** Of a name without tag and digest. */
const REPOSITORY_LENGTH_MAX = 255
/** An image's id names no repository to pull from. */
const IMAGE_ID = /^[0-9a-f]{64}$/

/** Windows' isolation and a bind mount are what is meant where nothing is said. Words may be given
 * in any case. */
export function completeContainer(given: ContainerSpec): ContainerSpec {
  const { Mounts } = given
  return {
    ...given,
    ...(Mounts === undefined ? {} : { Mounts: Mounts.map(completeMount) }),
    Isolation: isolationOf(given.Isolation),
  }
}

/** What is no isolation is the default. */
function isolationOf(given = ''): string {
  const word = given.toLowerCase()
  return word === 'process' || word === 'hyperv' ? word : 'default'
}

function completeMount(given: Mount): Mount {
  const Type = (given.Type ?? 'bind').toLowerCase() as Mount['Type']
  const propagation = given.BindOptions?.Propagation
  if (propagation === undefined) return { ...given, Type }
  const BindOptions = { ...given.BindOptions, Propagation: propagation.toLowerCase() }
  return { ...given, Type, BindOptions }
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
  const isGood =
    image.length <= IMAGE_LENGTH_MAX && (DIRECTORY.test(image) || isRepositoryTag(image))
  if (isGood) return
  throw invalidArgument(`ContainerSpec: ${JSON.stringify(image)} is not a valid repository/tag`)
}

function isRepositoryTag(image: string): boolean {
  const repository = image.replace(/@.*$/, '').replace(/:[\w.-]+$/, '')
  return IMAGE.test(image) && !IMAGE_ID.test(image) && repository.length <= REPOSITORY_LENGTH_MAX
}

function checkMounts(mounts: readonly Mount[]): void {
  const targets = new Set<string>()
  for (const { Type, Source, Target, BindOptions } of mounts) {
    if (!MOUNT_TYPES.includes(Type)) {
      throw badRequest(`invalid MountType: ${JSON.stringify(Type)}`)
    }
    const propagation = BindOptions?.Propagation ?? 'rprivate'
    if (!PROPAGATIONS.includes(propagation)) {
      throw badRequest(`invalid MountPropagation: ${JSON.stringify(propagation)}`)
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
function checkPrivileges({ Privileges, Configs = [] }: ContainerSpec): void {
  const credentials = Privileges?.CredentialSpec as Readonly<Record<string, string>> | undefined
  if (credentials === undefined) return
  const given = ['Config', 'File', 'Registry'].filter((source) => credentials[source] !== '')
  if (given.length === 0) {
    throw badRequest(
      'invalid CredentialSpec: must either provide "file", "registry", or "config" for ' +
        'credential spec',
    )
  }
  if (given.length > 1) {
    const [one, other] = given.map((source) => JSON.stringify(source.toLowerCase()))
    throw badRequest(
      `invalid CredentialSpec: cannot specify both ${one} and ${other} credential specs`,
    )
  }
  const { Config: config } = credentials
  const isReferred = Configs.some(({ ConfigID, Runtime }) => ConfigID === config && Runtime)
  if (config === '' || isReferred) return
  throw invalidArgument(
    `CredentialSpec references config '${config}', but that config isn't in config references ` +
      'with RuntimeTarget',
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
  const configs = Configs.map(({ ConfigID: id, ConfigName: name, File, Runtime }) => ({
    id,
    name,
    File,
    isFile: Runtime === undefined,
  }))
  checkFiles('config', configs)
}

function checkFiles(
  noun: 'secret' | 'config',
  references: readonly {
    readonly id: string
    readonly name: string
    readonly File?: FileTarget | undefined
    readonly isFile?: boolean
  }[],
): void {
  const taken = new Map<string, string>()
  for (const { id, name, File, isFile = true } of references) {
    if (id === '' || name === '') throw invalidArgument(`malformed ${noun} reference`)
    if (!isFile) continue
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
