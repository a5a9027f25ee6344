// Text <-> sockaddr, by the C library's own inet_pton and inet_ntop. Cold path.
//
// A socket of family AF_INET6 speaks of IPv4 endpoints as v4-mapped addresses (RFC 4291 §2.5.5.2);
// people never see that form. A socket of family AF_INET keeps IPv4 endpoints as sockaddr_in, and
// IPv6 ones as sockaddr_in6 too: the kernel refuses those with EAFNOSUPPORT when they are sent to,
// which is the truth.

import { isIP } from 'node:net'
import {
  NAME_PORT,
  NAME_STRIDE,
  NAME_V4_ADDRESS,
  NAME_V6_ADDRESS,
  NAME_V6_SCOPE,
} from './layout.ts'
import {
  AF_INET,
  AF_INET6,
  type PinnedMemory,
  pin,
  sysIfNametoindex,
  sysInetNtop,
  sysInetPton,
} from './libc.ts'

const V4_MAPPED = 0xffff
const TEXT_SIZE = 64

/** A place to build or take apart one sockaddr: NAME_STRIDE bytes of it, then room for text. */
export class AddressCodec {
  readonly memory: PinnedMemory
  /** The sockaddr as words. */
  readonly words: Int32Array
  /** AF_INET6 or AF_INET: how IPv4 addresses are written. */
  readonly family: number

  constructor(family: number) {
    this.memory = pin(NAME_STRIDE + TEXT_SIZE)
    this.words = new Int32Array(this.memory.bytes.buffer, 0, NAME_STRIDE / 4)
    this.family = family
  }

  /** Writes the sockaddr of `address` (IPv4, IPv6, IPv6 with "%scope") and `port`. Throws TypeError
   * with code ERR_INVALID_ADDRESS when it is not a literal address, RangeError when the port is
   * none. */
  encode(address: string, port: number): void {
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw Object.assign(
        new RangeError(`port must be a whole number from 0 to 65535, not ${port}`),
        {
          code: 'ERR_SOCKET_BAD_PORT',
        },
      )
    }
    const version = isIP(address)
    if (version === 0) throw invalidAddress(address, 'is no IPv4 or IPv6 address')
    const { bytes, view } = this.memory
    bytes.fill(0, 0, NAME_STRIDE)
    view.setUint16(NAME_PORT, port)
    if (version === 6) this.encodeV6(address)
    else if (this.family === AF_INET) this.parse(AF_INET, address, NAME_V4_ADDRESS)
    else this.parse(AF_INET6, `::ffff:${address}`, NAME_V6_ADDRESS)
  }

  private encodeV6(address: string): void {
    const percent = address.indexOf('%')
    this.parse(AF_INET6, percent < 0 ? address : address.slice(0, percent), NAME_V6_ADDRESS)
    if (percent >= 0) {
      const zone = address.slice(percent + 1)
      const scope = /^\d{1,9}$/.test(zone) ? Number(zone) : sysIfNametoindex(zone)
      if (scope === 0) throw invalidAddress(address, `names no interface of this host`)
      this.memory.view.setUint32(NAME_V6_SCOPE, scope, true)
    }
    if (this.family === AF_INET && this.mapped()) {
      const v4 = this.memory.view.getUint32(NAME_V6_ADDRESS + 12)
      this.memory.bytes.fill(0, NAME_V4_ADDRESS, NAME_STRIDE)
      this.memory.view.setUint32(NAME_V4_ADDRESS, v4)
      this.memory.view.setUint16(0, AF_INET, true)
    }
  }

  private parse(family: number, text: string, at: number): void {
    this.memory.view.setUint16(0, family, true)
    if (sysInetPton(family, text, this.memory.address + at) !== 1) {
      throw invalidAddress(text, 'is no address the C library can read')
    }
  }

  /** Takes a sockaddr from word `at` of `words`; address(), port(), isV4() then speak of it. */
  load(words: Int32Array, at: number): void {
    for (let i = 0; i < this.words.length; i++) this.words[i] = words[at + i]!
  }

  port(): number {
    return this.memory.view.getUint16(NAME_PORT)
  }

  /** True for IPv4, v4-mapped included. */
  isV4(): boolean {
    return this.memory.view.getUint16(0, true) === AF_INET || this.mapped()
  }

  /** The address as text: "192.0.2.1", "2001:db8::1", "fe80::1%3". */
  address(): string {
    const { view, address } = this.memory
    const v4 = this.isV4()
    const at = view.getUint16(0, true) === AF_INET ? NAME_V4_ADDRESS : NAME_V6_ADDRESS
    const text = v4
      ? sysInetNtop(
          AF_INET,
          address + at + (at === NAME_V4_ADDRESS ? 0 : 12),
          address + NAME_STRIDE,
          TEXT_SIZE,
        )
      : sysInetNtop(AF_INET6, address + at, address + NAME_STRIDE, TEXT_SIZE)
    const scope = v4 ? 0 : view.getUint32(NAME_V6_SCOPE, true)
    return scope === 0 ? `${text}` : `${text}%${scope}`
  }

  private mapped(): boolean {
    const { view } = this.memory
    return (
      view.getUint32(NAME_V6_ADDRESS) === 0 &&
      view.getUint32(NAME_V6_ADDRESS + 4) === 0 &&
      view.getUint32(NAME_V6_ADDRESS + 8) === V4_MAPPED
    )
  }
}

function invalidAddress(address: string, sentence: string): Error {
  return Object.assign(new TypeError(`"${address}" ${sentence}`), { code: 'ERR_INVALID_ADDRESS' })
}
