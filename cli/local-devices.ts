// The devices in the tasks' namespaces, and what goes with them: their links' configuration and the
// rules that bring answers back into the mesh. Each device is written into a journal before it is
// made. It is persistent, so that a container keeps its interface and its connections while the
// agent is away; the journal lets the next agent remove the ones that its tables no longer name.
//
// A device is the same as long as its namespace and name are: other addresses, another MTU or MAC
// are given to the device that is there, whose container goes on using it.
//
// The end of a device takes the kernel 10 to 30 ms, and a hundred may end at once, while the agent
// has heartbeats to send: so they end one after another on another thread.

import { existsSync } from 'node:fs'
import type { Logger } from '../base/log.ts'
import type { CompiledPort, CompiledTables } from '../dataplane/compiled.ts'
import { PROTOCOL_TCP } from '../dataplane/compiled.ts'
import { applyIngress, type IngressWish, NO_INGRESS } from '../dataplane/edge/ingress.ts'
import { type Journal, type JournalRecord, openJournal } from '../dataplane/edge/journal.ts'
import { close, closeAside } from '../dataplane/edge/libc.ts'
import { configureLink, configureLinks, type LinkOptions } from '../dataplane/edge/link.ts'
import { inNamespace, namespaceIdentity } from '../dataplane/edge/netns.ts'
import { sysctlDevices } from '../dataplane/edge/sysctl.ts'
import { type OpenedDevice, openTap, setPersistent } from '../dataplane/edge/tuntap.ts'
import { SEGMENTS_PER_FRAME_MAX } from '../dataplane/engine-limits.ts'

/** Largest UDP payload over IPv4; what one message of SEGMENTS_PER_FRAME_MAX datagrams must not
 * exceed. */
const MESSAGE_MAX = 65507
/** Outer headers per segment inside that message, see transmitter.ts. */
const SEGMENT_OVERHEAD = 40 + 14
const TRANSMIT_QUEUE_LENGTH = 2000

/** What the journal says of a device. */
interface DeviceEntry {
  /** Path of the namespace, null = the agent's own. */
  readonly namespace: string | null
  /** Which namespace that path meant. */
  readonly identity: string
  readonly device: string
}

interface LocalDevice {
  readonly opened: OpenedDevice
  readonly record: JournalRecord<DeviceEntry>
  port: CompiledPort
}

export class LocalDevices {
  private readonly journal: Journal<DeviceEntry>
  private readonly log: Logger
  private readonly devices: Map<string, LocalDevice> = new Map()
  /** Devices that are about to end, by key. */
  private readonly ends: Map<string, Promise<void>> = new Map()
  private lastEnd: Promise<void> = Promise.resolve()
  /** The ingress rules that are made, as JSON, by namespace ("" = the agent's own). */
  private readonly ingress: Map<string, string> = new Map()

  /** Throws EdgeError ALREADY_RUNNING, JOURNAL. */
  constructor(runDirectory: string, log: Logger) {
    const identity = namespaceIdentity()
    const cookie = identity.replace(/^.*\//, '')
    this.journal = openJournal(`${runDirectory}/devices-${cookie}.journal`, identity)
    this.log = log
    for (const { entry } of this.journal.leftover)
      this.ingress.set(entry.namespace ?? '', 'unknown')
  }

  opened(port: CompiledPort): OpenedDevice | undefined {
    return this.devices.get(deviceKey(port))?.opened
  }

  /** Makes, takes over or changes devices until all that the tables name are there. `made` gets the
   * keys of the new ones, for close() when something else fails. Throws EdgeError. */
  async open(ports: readonly CompiledPort[], made: string[]): Promise<void> {
    // One of the same name, made anew before the old one has ended, would be the old one.
    if (this.ends.size > 0) await Promise.all(ports.map((port) => this.ends.get(deviceKey(port))))
    const links: Promise<void>[] = []
    /** New ones in the agent's own namespace: containers' that an engine will move. */
    const bare: LinkOptions[] = []
    for (const port of ports) {
      const key = deviceKey(port)
      const known = this.devices.get(key)
      if (known === undefined) {
        const device = this.make(port)
        this.devices.set(key, device)
        made.push(key)
        // One that was handed over before, and is in use where it is, stays as it is.
        const isInUse = port.handedOver && device.opened.adopted
        if (isInUse) continue
        if (port.handedOver && port.netns === null) bare.push(linkOptions(port))
        else links.push(configureLink(linkOptions(port), device.opened.adopted))
      } else if (port.handedOver) {
        // It is no longer where it was made: its container's engine looks after it.
        known.port = port
      } else if (linkText(known.port) !== linkText(port)) {
        known.port = port
        links.push(configureLink(linkOptions(port), true))
      }
    }
    if (bare.length > 0) links.push(configureLinks(bare))
    const results = await Promise.allSettled(links)
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  private make(port: CompiledPort): LocalDevice {
    // One that was moved before this agent began is taken over where it is.
    const { netns, device } = port.movedTo ?? port
    const namespace = netns ?? undefined
    const identity = inNamespace(namespace, namespaceIdentity)
    const entry: DeviceEntry = { namespace: netns, identity, device }
    const [record] = this.journal.append([entry])
    try {
      const place = namespace === undefined ? {} : { namespace }
      const opened = openTap({ name: device, persistent: true, ...place })
      if (opened.adopted) this.log.info('took over device', { device })
      return { opened, record: record!, port }
    } catch (error) {
      this.journal.undone([record!.id])
      throw error
    }
  }

  /** Takes a device away; it is gone a moment later. */
  close(key: string): void {
    const device = this.devices.get(key)
    if (device === undefined) return
    this.devices.delete(key)
    setPersistent(device.opened, false)
    const end = this.lastEnd.then(async () => {
      await closeAside(device.opened.fd)
      this.journal.undone([device.record.id])
      this.ends.delete(key)
    })
    this.ends.set(key, end)
    this.lastEnd = end
  }

  /** Closes the devices that are not among `ports`. */
  retain(ports: readonly CompiledPort[]): void {
    const kept = new Set(ports.map(deviceKey))
    for (const key of [...this.devices.keys()]) if (!kept.has(key)) this.close(key)
  }

  /** Removes what an earlier agent made and these tables do not name. */
  sweep(): void {
    for (const { id, entry } of this.journal.leftover) {
      const key = keyOf(entry.namespace, entry.device)
      const isOurs = [...this.devices.values()].some(({ record }) => {
        return keyOf(record.entry.namespace, record.entry.device) === key
      })
      if (isOurs || this.removeLeftover(entry)) this.journal.undone([id])
    }
  }

  /** True when the device is gone, or its namespace is. */
  private removeLeftover({ namespace, identity, device }: DeviceEntry): boolean {
    const place = namespace === null ? {} : { namespace }
    try {
      const isThere = inNamespace(
        namespace ?? undefined,
        () => namespaceIdentity() === identity && sysctlDevices('ipv4').includes(device),
      )
      if (!isThere) return true
      close(openTap({ name: device, persistent: false, ...place }).fd)
      this.log.info('removed a device that an earlier agent left', { device })
      return true
    } catch (error) {
      const { code, message } = error as Error & { code?: string }
      if (code === 'NAMESPACE_MISSING') return true
      this.log.warn('could not remove a device that an earlier agent left', { error: message })
      return false
    }
  }

  /** Makes the rules in the tasks' namespaces as the tables wish them; null = none. */
  async applyIngress(tables: CompiledTables | null): Promise<void> {
    const wishes = tables === null ? new Map<string, IngressWish>() : ingressWishes(tables)
    for (const namespace of new Set([...this.ingress.keys(), ...wishes.keys()])) {
      const wish = wishes.get(namespace) ?? NO_INGRESS
      const text = JSON.stringify(wish)
      if (text === this.ingress.get(namespace)) continue
      // When it fails half-way, the next call makes it again.
      this.ingress.set(namespace, 'unknown')
      if (!(await this.applyWish(wish, namespace))) continue
      if (wish === NO_INGRESS) this.ingress.delete(namespace)
      else this.ingress.set(namespace, text)
    }
  }

  /** False when the namespace has gone with its container, which tables to come will say. */
  private async applyWish(wish: IngressWish, namespace: string): Promise<boolean> {
    try {
      await applyIngress(wish, namespace === '' ? undefined : namespace)
      return true
    } catch (error) {
      const { code, message } = error as Error & { code?: string }
      if (code !== 'NAMESPACE_MISSING' && existsSync(namespace)) throw error
      this.log.debug('no ingress rules: the namespace is gone', { namespace, error: message })
      return wish === NO_INGRESS
    }
  }

  /** After a start that failed: what it made goes, what an earlier agent had made stays. */
  async giveBack(): Promise<void> {
    const all = [...this.devices]
    if (!all.some(([, { opened }]) => opened.adopted)) return this.undoAll()
    for (const [key, { opened }] of all) if (!opened.adopted) this.close(key)
    await this.leave()
  }

  /** Leaves everything as it is to the next agent, which finds it in the journal. */
  async leave(): Promise<void> {
    await this.lastEnd
    for (const { opened } of this.devices.values()) close(opened.fd)
    this.devices.clear()
    this.journal.close()
  }

  /** Takes everything back. Goes on over errors, which are logged. */
  async undoAll(): Promise<void> {
    try {
      await this.applyIngress(null)
    } catch (error) {
      this.log.warn('could not remove the ingress rules', { error: String(error) })
    }
    this.retain([])
    await this.lastEnd
    this.journal.close()
  }
}

function keyOf(namespace: string | null, device: string): string {
  return `${namespace ?? ''} ${device}`
}

function deviceKey(port: CompiledPort): string {
  return keyOf(port.netns, port.device)
}

/** What makes two configurations of a device equal. */
function linkText(port: CompiledPort): string {
  return JSON.stringify(linkOptions(port))
}

function linkOptions(port: CompiledPort): LinkOptions {
  const segment = port.mtu + SEGMENT_OVERHEAD
  const segments = Math.min(SEGMENTS_PER_FRAME_MAX, Math.floor(MESSAGE_MAX / segment))
  const gateways = port.gateways.map((gateway) => gateway.text)
  const addresses = port.addresses.map((address, i) => `${address.text}/${port.prefixLengths[i]}`)
  return {
    name: port.device,
    namespace: port.netns ?? undefined,
    mac: [...port.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    addresses: port.handedOver ? [] : addresses,
    bare: port.handedOver,
    mtu: port.mtu,
    transmitQueueLength: TRANSMIT_QUEUE_LENGTH,
    gsoSizeMax: Math.min(65535, segments * (port.mtu - 40)),
    gsoSegmentCountMax: segments,
    ...(port.defaultRoute ? { defaultGateways: gateways } : {}),
    ...(port.ingress && !port.handedOver ? { ingressGateways: gateways } : {}),
  }
}

interface Wish {
  readonly addresses: string[]
  readonly udpPorts: number[]
  readonly routes: { gateway: string; device: string }[]
}

/** What each namespace must send back into the mesh: its addresses on the ingress network, and the
 * UDP ports on which it serves published ones. */
function ingressWishes(tables: CompiledTables): Map<string, IngressWish> {
  const served = new Map<number, Set<number>>()
  for (const { protocol, targetPortNumber, service } of tables.publishedPorts) {
    if (protocol === PROTOCOL_TCP) continue
    for (const backend of tables.services[service]!.backends) {
      const { port } = tables.endpoints[tables.backends[backend]!.endpoint]!
      served.set(port, (served.get(port) ?? new Set()).add(targetPortNumber))
    }
  }
  const wishes = new Map<string, Wish>()
  tables.ports.forEach((port, p) => {
    const { movedTo } = port
    if (!port.ingress || (port.handedOver && movedTo === null)) return
    const namespace = movedTo?.netns ?? port.netns ?? ''
    const wish = wishes.get(namespace) ?? { addresses: [], udpPorts: [], routes: [] }
    if (movedTo !== null) {
      const { device } = movedTo
      wish.routes.push(...port.gateways.map(({ text }) => ({ gateway: text, device })))
    }
    wish.addresses.push(...port.addresses.map((address) => address.text))
    wish.udpPorts.push(...(served.get(p) ?? []))
    wishes.set(namespace, wish)
  })
  return wishes
}
