// Packets in hex, as box.ts sends and records them. Written by hand, not with wire/: what is tested
// must not make its own questions.

/** A literal IPv4 address as 8 hex digits, or IPv6 (with at most one "::") as 32. */
export function hexOf(address: string): string {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number)).toString('hex')
  const [head = '', tail] = address.split('::') as [string, string?]
  const words = (text: string): string =>
    text === ''
      ? ''
      : text
          .split(':')
          .map((word) => word.padStart(4, '0'))
          .join('')
  return tail === undefined
    ? words(head)
    : words(head).padEnd(32 - words(tail).length, '0') + words(tail)
}

function word(value: number): string {
  return value.toString(16).padStart(4, '0')
}

/** RFC 1071 over hex. */
export function checksum(hex: string): string {
  let sum = 0
  for (let i = 0; i < hex.length; i += 4)
    sum += Number.parseInt(hex.slice(i, i + 4).padEnd(4, '0'), 16)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return word(~sum & 0xffff)
}

const SOURCE_PORT = 9999
const TARGET_PORT = 9998

/** An IPv4 packet with a UDP datagram that carries `text`; no UDP checksum. */
export function udpPacket(source: string, target: string, text: string): string {
  const data = Buffer.from(text).toString('hex')
  const size = 8 + data.length / 2
  const before = `4500${word(20 + size)}000000004011`
  const after = `${hexOf(source)}${hexOf(target)}`
  const header = `${before}${checksum(`${before}0000${after}`)}${after}`
  return `${header}${word(SOURCE_PORT)}${word(TARGET_PORT)}${word(size)}0000${data}`
}

/** The same over IPv6, where the checksum is a duty (RFC 8200 section 8.1). */
export function udpPacket6(source: string, target: string, text: string): string {
  const data = Buffer.from(text).toString('hex')
  const size = word(8 + data.length / 2)
  const addresses = `${hexOf(source)}${hexOf(target)}`
  const ports = `${word(SOURCE_PORT)}${word(TARGET_PORT)}${size}`
  const sum = checksum(`${addresses}0000${size}00000011${ports}0000${data}`)
  return `60000000${size}1140${addresses}${ports}${sum}${data}`
}

/** An ARP request (RFC 826) of `mac` (12 hex digits) with address `sender` about `target`. */
export function arpRequest(mac: string, sender: string, target: string): string {
  return `0001080006040001${mac}${hexOf(sender)}${'00'.repeat(6)}${hexOf(target)}`
}

/** True for a frame with an IPv4 UDP datagram to the underlay's port. */
export function isUnderlay(frame: string): boolean {
  return (
    frame.slice(24, 28) === '0800' && frame.slice(46, 48) === '11' && frame.slice(72, 76) === '12b5'
  )
}
