// Labels of a service that say something of one of its published ports, for which the Engine API
// has no field:
//
//     weft.port.PORT.proxy-protocol   v1, v2: connections through the TCP port PORT of the routing
//                                     mesh begin with a PROXY header that names the client
//
// The API refuses what is wrong with them, since a server that waits for a header would take no
// connection without one. What was stored before it did is left out by who reads it.

import type { PortConfig } from './specs.ts'

/** The same as in the data plane's tables. */
export type ProxyProtocol = 'v1' | 'v2'

const PREFIX = 'weft.port.'
const PORT = /^[1-9][0-9]{0,4}$/
const OPTION = 'proxy-protocol'

/** Version of the header for connections through the published port `port`, undefined = none. */
export function proxyProtocolOf(
  labels: Readonly<Record<string, string>>,
  port: number,
): ProxyProtocol | undefined {
  const value = labels[`${PREFIX}${port}.${OPTION}`]
  return value === 'v1' || value === 'v2' ? value : undefined
}

/** What is wrong with the labels of a service with these published ports, null = nothing. */
export function portLabelFault(
  labels: Readonly<Record<string, string>>,
  ports: readonly PortConfig[],
): string | null {
  for (const [label, value] of Object.entries(labels)) {
    if (!label.startsWith(PREFIX)) continue
    const fault = faultOf(label.slice(PREFIX.length), value, ports)
    if (fault !== null) return `label ${label}: ${fault}`
  }
  return null
}

function faultOf(rest: string, value: string, ports: readonly PortConfig[]): string | null {
  const dot = rest.indexOf('.')
  const port = rest.slice(0, dot)
  const option = rest.slice(dot + 1)
  if (dot < 0 || !PORT.test(port))
    return `it is named ${PREFIX}PORT.${OPTION}, with a published port`
  if (option !== OPTION) return `ports have no option ${JSON.stringify(option)}, but ${OPTION}`
  if (value !== 'v1' && value !== 'v2') return `must be v1 or v2, not ${JSON.stringify(value)}`
  const published = ports.filter(({ PublishedPort }) => PublishedPort === Number(port))
  const mesh = published.filter(({ PublishMode }) => PublishMode === 'ingress')
  if (mesh.some(({ Protocol }) => Protocol === 'tcp')) return null
  if (mesh.length > 0)
    return `the PROXY protocol is for TCP, not ${mesh[0]!.Protocol.toUpperCase()}`
  if (published.length > 0) return `port ${port} is published in mode host, past the routing mesh`
  return `the service does not publish port ${port}`
}
