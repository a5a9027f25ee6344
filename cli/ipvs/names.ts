// Names for addresses and ports, from /etc/hosts and /etc/services and from nowhere else: a listing
// must not wait for a name server, nor tell one what it lists. Missing files are empty ones.

import { readFileSync } from 'node:fs'
import { parseAddress } from '../../dataplane/address.ts'
import { NAMES_FILE_SIZE_MAX } from '../limits.ts'

export class Names {
  private readonly portOf: Map<string, number> = new Map()
  private readonly serviceOf: Map<string, string> = new Map()
  private readonly addressOf: Map<string, string> = new Map()
  private readonly hostOf: Map<string, string> = new Map()

  /** Texts of the two files (hosts(5), services(5)). */
  constructor(hosts: string, services: string) {
    for (const [address, ...names] of fieldsOf(hosts)) {
      const parsed = parseAddress(address!)
      if (parsed === null || names.length === 0) continue
      if (!this.hostOf.has(parsed.text)) this.hostOf.set(parsed.text, names[0]!)
      // gethostbyname() answers with IPv4.
      if (parsed.bytes.length !== 4) continue
      for (const name of names) {
        const known = name.toLowerCase()
        if (!this.addressOf.has(known)) this.addressOf.set(known, parsed.text)
      }
    }
    for (const [name, place, ...aliases] of fieldsOf(services)) {
      const match = /^(\d+)\/(\w+)$/.exec(place ?? '')
      if (match === null || Number(match[1]) > 65_535) continue
      const [, port, protocol] = match as unknown as [string, string, string]
      const key = `${protocol}/${port}`
      if (!this.serviceOf.has(key)) this.serviceOf.set(key, name!)
      for (const one of [name!, ...aliases]) {
        const known = `${protocol}/${one}`
        if (!this.portOf.has(known)) this.portOf.set(known, Number(port))
      }
    }
  }

  /** Port of a service's name, undefined when there is none. */
  port(protocol: string, name: string): number | undefined {
    return this.portOf.get(`${protocol}/${name}`)
  }

  /** Name of a port; the number when it has none. */
  service(protocol: string, port: number): string {
    return this.serviceOf.get(`${protocol}/${port}`) ?? String(port)
  }

  /** IPv4 address of a host's name, undefined when there is none. */
  address(name: string): string | undefined {
    return this.addressOf.get(name.toLowerCase())
  }

  /** Name of an address; itself when it has none. */
  host(address: string): string {
    return this.hostOf.get(address) ?? address
  }
}

function fieldsOf(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
    .map((line) => line.split(/\s+/))
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(0, NAMES_FILE_SIZE_MAX)
  } catch {
    return ''
  }
}

/** The names of this machine. */
export function machineNames(): Names {
  return new Names(textOf('/etc/hosts'), textOf('/etc/services'))
}
