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
  const text = value.text()
  const match = PORT.exec(text)
  const [, ip, first, last, target, targetLast, protocol = 'tcp'] = match ?? []
  const count = Number(targetLast ?? target) - Number(target)
  const isRange = first === undefined || Number(last ?? first) - Number(first) === count
  if (match === null || count < 0 || !isRange || !PROTOCOLS.some((known) => known === protocol)) {
    value.problem(`invalid port specification "${text}"`)
    return []
  }
  if (ip !== undefined) value.problem('a stack publishes on every address: leave the address out')
  return Array.from({ length: count + 1 }, (_, n) => {
    const port = Number(target) + n
    if (port < 1 || port > 65535) value.problem(`port ${port} is out of range`)
    return compact({
      Protocol: protocol,
      TargetPort: port,
      PublishedPort: first === undefined ? undefined : Number(first) + n,
      PublishMode: 'ingress',
    })
  })
}
