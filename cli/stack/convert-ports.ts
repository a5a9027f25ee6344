// Ports of a service in a compose file.

import { compact, type Json } from './json.ts'
import type { Value } from './yaml-reader.ts'

const PROTOCOLS = ['tcp', 'udp', 'sctp'] as const
const PORT =
  /^(?:(?:(\d+\.\d+\.\d+\.\d+|\[[^\]]*\]):)?(?:(\d+)(?:-(\d+))?:)?)?(\d+)(?:-(\d+))?(?:\/(\w+))?$/

/** Short form "[[ip:]published[-last]:]target[-last][/protocol]", or the mapping of the long
 * one. */
export function ports(value: Value): Json[] {
  if (value.isMap) {
    value.allow(['target', 'published', 'protocol', 'mode', 'name', 'app_protocol'])
    return [
      compact({
        Name: value.get('name').optionalText(),
        Protocol: value.get('protocol').word(PROTOCOLS),
        TargetPort: value.get('target').integer(1, 65535) ?? 0,
        PublishedPort: value.get('published').integer(0, 65535),
        PublishMode: value.get('mode').word(['ingress', 'host']) ?? 'ingress',
      }),
    ]
  }
  const found = shortPorts(value.text())
  if (typeof found !== 'string') return [...found]
  value.problem(found)
  return []
}

/** The ports of the short form, or what is wrong with it. */
export function shortPorts(text: string): readonly Json[] | string {
  const match = PORT.exec(text)
  const [, ip, first, last, target, targetLast, protocol = 'tcp'] = match ?? []
  const count = Number(targetLast ?? target) - Number(target)
  const isRange = first === undefined || Number(last ?? first) - Number(first) === count
  if (match === null || count < 0 || !isRange || !PROTOCOLS.some((known) => known === protocol)) {
    return `invalid port specification "${text}"`
  }
  if (ip !== undefined) {
    return 'a service is published on every address of its nodes: leave the address out'
  }
  const highest = Math.max(Number(target), Number(first ?? 1)) + count
  if (Number(target) < 1 || highest > 65_535) return `invalid port specification "${text}"`
  return Array.from({ length: count + 1 }, (_, n) =>
    compact({
      Protocol: protocol,
      TargetPort: Number(target) + n,
      PublishedPort: first === undefined ? undefined : Number(first) + n,
      PublishMode: 'ingress',
    }),
  )
}
