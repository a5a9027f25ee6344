// The interfaces of one container: what the packet loop has to make, and where it is then.
//
//   handed over    made bare in the agent's network namespace under a name that derives from task
//                  and network; the engine moves it into the container (network-driver.ts), where
//                  it is taken over after a restart of the agent
//   injected       without the driver: made in the container's namespace once there is one
//
// Which interface of a container is on which network is read from the kernel, below /proc/PID/net:
// a file system that a container cannot fake.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Address6 } from 'ip-address'
import type { LocalInterface } from '../../../dataplane/tables.ts'
import type { TaskNetwork } from '../../store/objects.ts'

const DEVICE_PREFIX = 'wft'
/** An interface's name has at most 15 bytes. */
const HASH_DIGITS = 10

/** An address without its prefix length. */
export function bare(address: string): string {
  return address.replace(/\/.*$/, '')
}

/** The name under which an interface is made. */
export function deviceName(taskId: string, networkId: string): string {
  const hash = createHash('sha256').update(`${taskId}.${networkId}`).digest('hex')
  return `${DEVICE_PREFIX}${hash.slice(0, HASH_DIGITS)}`
}

export function namespaceOf(pid: number): string {
  return `/proc/${pid}/ns/net`
}

/** Where the interface of a task on `network`, its `index`-th, is to be made, and has been moved
 * to. `pid`: of the container, 0 = it does not run. */
export function interfaceOn(
  taskId: string,
  network: TaskNetwork,
  index: number,
  pid: number,
  isInjected: boolean,
): LocalInterface | null {
  if (isInjected) return pid === 0 ? null : { netns: namespaceOf(pid), name: `eth${index}` }
  const name = pid === 0 ? null : nameInside(pid, network.addresses)
  return {
    name: deviceName(taskId, network.networkId),
    handedOver: true,
    ...(name === null ? {} : { movedTo: { netns: namespaceOf(pid), name } }),
  }
}

/** The name that an interface with one of these addresses ("10.0.1.9/24") has inside. */
export function nameInside(pid: number, addresses: readonly string[]): string | null {
  for (const address of addresses) {
    const found = address.includes(':')
      ? nameByAddress6(read(pid, 'if_inet6'), address)
      : nameByRoute(read(pid, 'route'), address)
    if (found !== null) return found
  }
  return null
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/net/${file}`, 'latin1')
  } catch {
    return ''
  }
}

/** IPv4: the route to the address's own subnet. `table` is /proc/net/route, whose numbers are in
 * the byte order of the machine. */
export function nameByRoute(table: string, address: string): string | null {
  const [host = '', length = '32'] = address.split('/')
  const bytes = host.split('.').map(Number)
  const prefix = Number(length)
  if (bytes.length !== 4 || !(prefix >= 0 && prefix <= 32)) return null
  const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0
  const number = bytes.reduce((sum, byte) => ((sum << 8) | byte) >>> 0, 0)
  for (const line of table.split('\n').slice(1)) {
    const [name, destination, gateway, , , , , lineMask] = line.trim().split(/\s+/)
    if (name === undefined || lineMask === undefined || gateway !== '00000000') continue
    if (swapped(lineMask) === mask && swapped(destination!) === (number & mask) >>> 0) return name
  }
  return null
}

function swapped(hex: string): number {
  return Number.parseInt(hex.replace(/(..)(..)(..)(..)/, '$4$3$2$1'), 16)
}

/** IPv6: the address itself, in /proc/net/if_inet6. */
export function nameByAddress6(table: string, address: string): string | null {
  const digits = new Address6(address.replace(/\/.*$/, '')).canonicalForm().replaceAll(':', '')
  for (const line of table.split('\n')) {
    const words = line.trim().split(/\s+/)
    if (words[0] === digits && words[5] !== undefined) return words[5]
  }
  return null
}
