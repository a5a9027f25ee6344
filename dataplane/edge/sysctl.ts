// Network settings under /proc/sys/net. A name is a path below it ("ipv4/conf/weft0/rp_filter"):
// dots would be ambiguous, since device names may hold them. The files show the calling thread's
// namespace.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { EdgeError } from './errors.ts'

const ROOT = '/proc/sys/net'

/** The value without its line end, or undefined when this kernel or device has no such setting. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(`${ROOT}/${name}`, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** Sets a value. Returns false when there is no such setting. Throws EdgeError
 * NO_PERMISSION, or SYSTEM when the kernel refuses the value. */
export function writeSysctl(name: string, value: string): boolean {
  try {
    writeFileSync(`${ROOT}/${name}`, `${value}\n`)
    return true
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return false
    const what = `${ROOT}/${name} cannot be set to ${value}: ${message}`
    const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
    const remedy = denied ? 'run as root, with /proc/sys writable' : ''
    throw new EdgeError(denied ? 'NO_PERMISSION' : 'SYSTEM', name, what, remedy, cause)
  }
}

/** Devices that have settings of a family ("ipv4/conf", "ipv6/conf"), "all" and "default" excluded.
 */
export function sysctlDevices(family: 'ipv4' | 'ipv6'): string[] {
  try {
    const names = readdirSync(`${ROOT}/${family}/conf`)
    return names.filter((name) => name !== 'all' && name !== 'default')
  } catch {
    return []
  }
}
