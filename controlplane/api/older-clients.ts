// What a client of an older API version cannot mean: fields that its version does not have are
// taken off the request, as the Docker Engine does (moby, api/server/router/swarm/helpers.go), or
// refused where leaving them out would do something else than was asked for.

import type { ContainerSpec, Mount } from '../store/specs.ts'
import { badRequest } from './errors.ts'
import type { GivenServiceSpec } from './service-spec.ts'

type Container = ContainerSpec

/** Fields of ContainerSpec, by the first version 1.N that has them. */
const TAKEN_OFF: readonly {
  readonly before: number
  readonly without: (container: Container) => Container
}[] = [
  { before: 46, without: ({ OomScoreAdj: _, ...rest }) => withMounts(rest, withoutOptions) },
  { before: 44, without: withoutHealthAndPrivileges },
  {
    before: 41,
    without: ({ CapabilityAdd: _a, CapabilityDrop: _d, Ulimits: _u, ...rest }) => rest,
  },
]

export function forVersion(spec: GivenServiceSpec, minor: number): GivenServiceSpec {
  const { TaskTemplate } = spec
  const { ContainerSpec: given } = TaskTemplate
  if (given === undefined) return spec
  checkMounts(given.Mounts ?? [], minor)
  const ContainerSpec = TAKEN_OFF.filter(({ before }) => minor < before).reduce(
    (container, { without }) => without(container),
    given,
  )
  return { ...spec, TaskTemplate: { ...TaskTemplate, ContainerSpec } }
}

function checkMounts(mounts: readonly Mount[], minor: number): void {
  for (const { BindOptions, VolumeOptions } of mounts) {
    if (minor < 44 && BindOptions?.ReadOnlyNonRecursive === true) {
      throw badRequest('BindOptions.ReadOnlyNonRecursive needs API v1.44 or newer')
    }
    if (minor < 44 && BindOptions?.ReadOnlyForceRecursive === true) {
      throw badRequest('BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer')
    }
    if (minor < 45 && VolumeOptions?.Subpath !== undefined) {
      throw badRequest('VolumeOptions.Subpath needs API v1.45 or newer')
    }
  }
}

function withMounts(container: Container, change: (mount: Mount) => Mount): Container {
  if (container.Mounts === undefined) return container
  return { ...container, Mounts: container.Mounts.map(change) }
}

function withoutOptions(mount: Mount): Mount {
  if (mount.TmpfsOptions?.Options === undefined) return mount
  const { Options: _, ...TmpfsOptions } = mount.TmpfsOptions
  return { ...mount, TmpfsOptions }
}

function withoutHealthAndPrivileges(container: Container): Container {
  const { Healthcheck, Privileges, ...rest } = container
  const { StartInterval: _s, ...health } = Healthcheck ?? {}
  const { Seccomp: _c, AppArmor: _a, NoNewPrivileges: _n, ...privileges } = Privileges ?? {}
  return {
    ...rest,
    ...(Healthcheck === undefined ? {} : { Healthcheck: health }),
    ...(Privileges === undefined ? {} : { Privileges: privileges }),
  }
}
