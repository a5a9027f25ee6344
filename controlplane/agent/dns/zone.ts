// What names mean: the view of the world that a container has, network by network. Pure data,
// derived from the same versioned tables as the packet loop's, and swapped whole.
//
//   - A name is looked up in the networks of the container that asks, in their order; the first
//     that knows it answers. A name may be followed by ".NETWORK" to say which.
//   - `web` is a service's virtual address (or, without one, all its tasks), `tasks.web` its tasks,
//     and so are its aliases; `web.1.<task id>` and names of containers are one task.
//   - Addresses are in wire form, so that an answer is copied together.

import { Address4, Address6 } from 'ip-address'
import { encodeDnsName } from '../../../wire/dns.ts'

export interface DnsRecord {
  /** "web", "tasks.web", "web.1.3k2…"; compared without case. */
  readonly name: string
  /** IPv4 and IPv6, as text. */
  readonly addresses: readonly string[]
  /** The name that an address of it is turned back into (PTR). */
  readonly isCanonical?: boolean
}

export interface DnsNetwork {
  readonly id: string
  readonly name: string
  readonly subnets: readonly string[]
  readonly records: readonly DnsRecord[]
}

/** A container of this node, as a name server sees it. */
export interface DnsClient {
  readonly addresses: readonly string[]
  /** Ids of its networks, in the order in which names are looked up. */
  readonly networks: readonly string[]
  /** Names that no network knows are asked for outside; false on internal networks. */
  readonly external: boolean
}

export interface DnsTables {
  readonly networks: readonly DnsNetwork[]
  readonly clients: readonly DnsClient[]
}

/** The addresses of a name, by family, in wire form. */
export interface Addresses {
  readonly v4: readonly Uint8Array[]
  readonly v6: readonly Uint8Array[]
}

interface Zone {
  readonly name: string
  readonly subnets: readonly Subnet[]
  readonly names: ReadonlyMap<string, Addresses>
  /** By address: the name it belongs to, with the network's, in wire form. */
  readonly pointers: ReadonlyMap<string, Uint8Array>
}

type Subnet = Address4 | Address6

interface Client {
  readonly zones: readonly Zone[]
  readonly external: boolean
}

/** Bytes of an address, 4 or 16; null for what is none. A zone ("%eth0") is left out. */
export function addressBytes(text: string): Uint8Array | null {
  const bare = text.replace(/%.*$/, '')
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)
  const plain = mapped === null ? bare : mapped[1]!
  if (Address4.isValid(plain) && !plain.includes('/')) {
    return Uint8Array.from(new Address4(plain).toArray())
  }
  if (!Address6.isValid(plain) || plain.includes('/')) return null
  const hex = new Address6(plain).canonicalForm().replaceAll(':', '')
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}

/** One key for all spellings of an address. */
function addressKey(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

export class DnsZones {
  readonly #zones: readonly Zone[]
  readonly #clients: ReadonlyMap<string, Client>

  constructor(tables: DnsTables) {
    const zones = new Map(tables.networks.map((network) => [network.id, zoneOf(network)]))
    const clients = new Map<string, Client>()
    for (const client of tables.clients) {
      const known = client.networks.flatMap((id) => zones.get(id) ?? [])
      for (const text of client.addresses) {
        const bytes = addressBytes(text)
        if (bytes === null) continue
        clients.set(addressKey(bytes), { zones: known, external: client.external })
      }
    }
    this.#zones = [...zones.values()]
    this.#clients = clients
  }

  /** Who asks. One that the tables do not know yet sees the network that its address is on. */
  client(address: string): ClientView | null {
    const bytes = addressBytes(address)
    if (bytes === null) return null
    const known = this.#clients.get(addressKey(bytes))
    if (known !== undefined) return new ClientView(known.zones, known.external)
    const zone = this.#zones.find(({ subnets }) => contains(subnets, bytes))
    return zone === undefined ? null : new ClientView([zone], false)
  }
}

/** The names that one container sees. */
export class ClientView {
  readonly #zones: readonly Zone[]
  readonly external: boolean

  constructor(zones: readonly Zone[], external: boolean) {
    this.#zones = zones
    this.external = external
  }

  /** `name` in lower case without the last dot; null when no network of the client knows it. */
  find(name: string): Addresses | null {
    for (const zone of this.#zones) {
      const found = zone.names.get(name)
      if (found !== undefined) return found
    }
    for (const zone of this.#zones) {
      if (!name.endsWith(`.${zone.name}`)) continue
      const found = zone.names.get(name.slice(0, -zone.name.length - 1))
      if (found !== undefined) return found
    }
    return null
  }

  /** The name of an address, in wire form; null when nobody has it, undefined when it is on none of
   * the client's networks. */
  nameOf(address: Uint8Array): Uint8Array | null | undefined {
    const key = addressKey(address)
    for (const { pointers } of this.#zones) {
      const name = pointers.get(key)
      if (name !== undefined) return name
    }
    return this.#zones.some(({ subnets }) => contains(subnets, address)) ? null : undefined
  }
}

function zoneOf(network: DnsNetwork): Zone {
  const names = new Map<string, { v4: Uint8Array[]; v6: Uint8Array[] }>()
  const pointers = new Map<string, Uint8Array>()
  for (const { name, addresses, isCanonical } of network.records) {
    const key = name.toLowerCase()
    const entry = names.get(key) ?? { v4: [], v6: [] }
    names.set(key, entry)
    const pointer = isCanonical === true ? wireName(`${name}.${network.name}`) : null
    for (const text of addresses) {
      const bytes = addressBytes(text)
      if (bytes === null) continue
      const list = bytes.length === 4 ? entry.v4 : entry.v6
      if (!list.some((known) => Buffer.compare(known, bytes) === 0)) list.push(bytes)
      if (pointer !== null) pointers.set(addressKey(bytes), pointer)
    }
  }
  const subnets = network.subnets.map((subnet) =>
    subnet.includes(':') ? new Address6(subnet) : new Address4(subnet),
  )
  return { name: network.name.toLowerCase(), subnets, names, pointers }
}

/** The name in wire form; null for one that DNS cannot carry. */
function wireName(name: string): Uint8Array | null {
  try {
    return encodeDnsName(name)
  } catch {
    return null
  }
}

function contains(subnets: readonly Subnet[], bytes: Uint8Array): boolean {
  return subnets.some((subnet) =>
    bytes.length === 4
      ? subnet instanceof Address4 && new Address4([...bytes].join('.')).isInSubnet(subnet)
      : subnet instanceof Address6 && v6Of(bytes).isInSubnet(subnet),
  )
}

function v6Of(bytes: Uint8Array): Address6 {
  const hex = Buffer.from(bytes).toString('hex')
  return new Address6(hex.replace(/(.{4})(?!$)/g, '$1:'))
}

/** The address that a name below in-addr.arpa or ip6.arpa stands for (RFC 1035 section 3.5, RFC
 * 3596 section 2.5); null for another name. */
export function pointerAddress(name: string): Uint8Array | null {
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name)
  if (four !== null) {
    const bytes = four.slice(1, 5).reverse().map(Number)
    return bytes.every((byte) => byte < 256) ? Uint8Array.from(bytes) : null
  }
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)
  if (six === null) return null
  const digits = six[1]!.replaceAll('.', '').split('').reverse().join('')
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}
