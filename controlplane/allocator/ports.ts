// Published ports of the routing mesh. A port and protocol belong to one service on all nodes; who
// names none gets one of 30000 to 32767, and keeps it through updates. Ports of mode "host" are the
// nodes' own: the scheduler keeps their users apart.

import type { ServiceObject } from '../store/objects.ts'
import type { PortConfig } from '../store/specs.ts'
import { AllocationError, type Taken } from './errors.ts'
import { DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST } from './limits.ts'
import { NextFit } from './next-fit.ts'

interface Owner {
  readonly id: string
  readonly name: string
}

export class Ports {
  private readonly owners = new Map<string, Owner>()
  private readonly dynamic = new Map<string, NextFit>()

  /** Takes over what a service has; false when another has it. */
  claim(port: PortConfig, owner: Owner): boolean {
    const other = this.owners.get(keyOf(port))
    if (other !== undefined && other.id !== owner.id) return false
    this.put(port, owner)
    return true
  }

  release(port: PortConfig, ownerId: string): void {
    if (this.owners.get(keyOf(port))?.id !== ownerId) return
    this.owners.delete(keyOf(port))
    this.dynamicOf(port.Protocol).release(port.PublishedPort!)
  }

  /** The ports of a service as they are to be, with what it has kept where possible. Throws
   * AllocationError; what was taken is in `taken`. */
  take(service: ServiceObject, taken: Taken): PortConfig[] {
    const wanted = service.spec.EndpointSpec?.Ports ?? []
    const owner = { id: service.id, name: service.spec.Name }
    const named = new Set(wanted.flatMap((port) => (isNamed(port) ? [keyOf(port)] : [])))
    const spare = service.endpoint.ports.filter(
      (port) => isNamed(port) && !named.has(keyOf(port)) && this.isOwn(port, owner),
    )
    for (const port of wanted) if (isNamed(port)) this.takeNamed(port, owner, taken)
    return wanted.map((port) => {
      if (port.PublishMode !== 'ingress' || isNamed(port)) return port
      const at = spare.findIndex((old) => isSamePort(old, port))
      if (at >= 0) return { ...port, PublishedPort: spare.splice(at, 1)[0]!.PublishedPort! }
      return this.takeDynamic(port, owner, taken)
    })
  }

  private takeNamed(port: PortConfig, owner: Owner, taken: Taken): void {
    const other = this.owners.get(keyOf(port))
    if (other?.id === owner.id) return
    if (other !== undefined) {
      const by = `service '${other.name}' (${other.id}) as an ingress port`
      throw new AllocationError(`port '${port.PublishedPort}' is already in use by ${by}`)
    }
    this.put(port, owner)
    taken.push(() => this.release(port, owner.id))
  }

  private takeDynamic(port: PortConfig, owner: Owner, taken: Taken): PortConfig {
    const number = this.dynamicOf(port.Protocol).take()
    if (number === null) {
      throw new AllocationError(
        `no ${port.Protocol} port from ${DYNAMIC_PORT_FIRST} to ${DYNAMIC_PORT_LAST} is left`,
      )
    }
    const given = { ...port, PublishedPort: number }
    this.put(given, owner)
    taken.push(() => this.release(given, owner.id))
    return given
  }

  private put(port: PortConfig, owner: Owner): void {
    this.owners.set(keyOf(port), owner)
    this.dynamicOf(port.Protocol).claim(port.PublishedPort!, true)
  }

  private isOwn(port: PortConfig, owner: Owner): boolean {
    return this.owners.get(keyOf(port))?.id === owner.id
  }

  private dynamicOf(protocol: string): NextFit {
    const found = this.dynamic.get(protocol)
    if (found !== undefined) return found
    const made = new NextFit(DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST)
    this.dynamic.set(protocol, made)
    return made
  }
}

/** A port of the routing mesh whose number is known. */
export function isNamed({ PublishMode, PublishedPort }: PortConfig): boolean {
  return PublishMode === 'ingress' && Boolean(PublishedPort)
}

export function isSamePort(a: PortConfig, b: PortConfig): boolean {
  return (
    a.Protocol === b.Protocol &&
    a.TargetPort === b.TargetPort &&
    a.PublishMode === b.PublishMode &&
    (a.Name ?? '') === (b.Name ?? '')
  )
}

function keyOf({ Protocol, PublishedPort }: PortConfig): string {
  return `${Protocol}/${PublishedPort}`
}
