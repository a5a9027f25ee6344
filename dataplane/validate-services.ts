// The second validation pass over services and published ports.

import { MH_PRIMES } from '../ipvs-emulator/sched-mh.ts'
import { macText, parseAddress } from './address.ts'
import { LISTEN_PORT_DEFAULT, SCHEDULER_DEFAULT } from './defaults.ts'
import { BACKENDS_MAX, REAL_SERVERS_MAX, VIRTUAL_SERVICES_MAX } from './limits.ts'
import { macFromAddress } from './mac-derive.ts'
import { didYouMean } from './suggest.ts'
import type { Service } from './tables.ts'
import { type Context, claim, resolveName } from './validate-context.ts'
import { checkHostAddress } from './validate-endpoints.ts'

function checkVips(context: Context, service: Service, s: number, network: number): void {
  const { report } = context
  service.vips.forEach((text, v) => {
    const path = `services[${s}].vips[${v}]`
    const owner = `services[${s}].vips[${v}]`
    const address = parseAddress(text)!
    if (checkHostAddress(context, network, address, path) < 0) return
    claim(context.addressOwners, network, address.text, owner, (earlier) =>
      report(path, `is also that of ${earlier}`),
    )
    const mac = macText(macFromAddress(address.bytes))
    claim(context.macOwners, network, mac, owner, (earlier) => {
      // An address held twice has been told already.
      if (context.addressOwners.get(`${network}|${address.text}`) !== owner) return
      report(path, `derives the MAC address ${mac}, which is also that of ${earlier}`)
    })
  })
}

function checkPorts(context: Context, service: Service, s: number): void {
  const seen = new Map<string, number>()
  for (const [p, { protocol, port }] of (service.ports ?? []).entries()) {
    const key = `${protocol}/${port}`
    const first = seen.get(key)
    if (first === undefined) seen.set(key, p)
    else context.report(`services[${s}].ports[${p}]`, `${key} is also ports[${first}]`)
  }
}

function checkBackends(context: Context, service: Service, s: number): void {
  const { tables, report } = context
  const seen = new Map<string, number>()
  service.backends.forEach((backend, b) => {
    const path = `services[${s}].backends[${b}].endpoint`
    const index = resolveName(context, 'endpoint', backend.endpoint, path)
    if (index === undefined) return
    const endpoint = tables.endpoints[index]!
    if (context.networks.has(service.network) && endpoint.network !== service.network) {
      report(
        path,
        `endpoint "${endpoint.name}" is on network "${endpoint.network}", ` +
          `the service on "${service.network}"`,
      )
    }
    const first = seen.get(backend.endpoint)
    if (first === undefined) seen.set(backend.endpoint, b)
    else report(path, `is also that of backends[${first}]`)
  })
}

function checkPublishedPorts(context: Context): void {
  const { tables, report } = context
  const seen = new Map<string, number>()
  const listenPort = tables.node.listenPort ?? LISTEN_PORT_DEFAULT
  tables.publishedPorts.forEach((published, p) => {
    const path = `publishedPorts[${p}]`
    const key = `${published.protocol}/${published.port}`
    const first = seen.get(key)
    if (first === undefined) seen.set(key, p)
    else report(path, `${key} is published already by publishedPorts[${first}]`)
    if (published.protocol === 'udp' && published.port === listenPort) {
      // The mesh would take the overlay's own datagrams away from it.
      report(`${path}.port`, `${key} is the port of the overlay itself (node.listenPort)`)
    }
    if (published.protocol !== 'tcp' && published.proxyProtocol !== undefined) {
      report(`${path}.proxyProtocol`, `is for TCP, not ${key}`)
    }
    const index = resolveName(context, 'service', published.service, `${path}.service`)
    if (index === undefined) return
    const service = tables.services[index]!
    const network = context.networks.get(service.network)
    if (network !== undefined && tables.networks[network]!.ingress !== true) {
      report(
        `${path}.service`,
        `service "${service.name}" is on network "${service.network}", ` +
          'which is not the ingress network',
      )
    }
  })
}

/** Bounds the products that many small lists multiply to. */
function checkTotals({ tables, report }: Context): void {
  let backends = 0
  let virtualServices = 2 * tables.publishedPorts.length
  let realServers = 0
  for (const service of tables.services) {
    // Without ports a VIP stands for two virtual services, TCP and UDP.
    const ports =
      service.ports === undefined || service.ports.length === 0 ? 2 : service.ports.length
    backends += service.backends.length
    virtualServices += service.vips.length * ports
    realServers += service.vips.length * ports * service.backends.length
  }
  for (const [what, count, max] of [
    ['backends', backends, BACKENDS_MAX],
    ['combinations of VIP and port', virtualServices, VIRTUAL_SERVICES_MAX],
    ['combinations of VIP, port and backend', realServers, REAL_SERVERS_MAX],
  ] as const) {
    if (count > max) report('services', `hold ${count} ${what}, at most ${max} are supported`)
  }
}

/** The flags that each scheduler has; the others have none. */
const FLAGS_OF: Readonly<Record<string, readonly string[]>> = {
  sh: ['sh-fallback', 'sh-port'],
  mh: ['mh-fallback', 'mh-port'],
}

/** The options besides the scheduler's name. */
function checkOptions({ tables, report }: Context, service: Service, s: number): void {
  const path = `services[${s}]`
  const scheduler = service.scheduler ?? SCHEDULER_DEFAULT
  const known = FLAGS_OF[scheduler] ?? []
  for (const [f, flag] of (service.schedulerFlags ?? []).entries()) {
    const place = `${path}.schedulerFlags[${f}]`
    if (!known.includes(flag)) {
      const has = known.length === 0 ? 'has none' : `has ${known.join(' and ')}`
      report(place, `"${scheduler}" has no flag "${flag}": it ${has}`)
    } else if (service.schedulerFlags!.indexOf(flag) !== f) {
      report(place, 'is given twice')
    }
  }
  if (service.mhSlots !== undefined && scheduler !== 'mh') {
    report(`${path}.mhSlots`, `is for the scheduler "mh", not "${scheduler}"`)
  } else if (service.mhSlots !== undefined && !MH_PRIMES.includes(service.mhSlots)) {
    report(`${path}.mhSlots`, `must be one of ${MH_PRIMES.join(', ')}`)
  }
  for (const field of ['persistencePrefix4', 'persistencePrefix6'] as const) {
    if (service[field] !== undefined && (service.persistenceSeconds ?? 0) === 0) {
      report(`${path}.${field}`, 'means nothing without persistenceSeconds')
    }
  }
  if ((service.prefer === 'zone' || service.prefer === 'nearest') && !tables.node.zone) {
    report(`${path}.prefer`, `"${service.prefer}" needs to know the node's own zone (node.zone)`)
  }
  service.backends.forEach(({ upperThreshold = 0, lowerThreshold = 0 }, b) => {
    if (lowerThreshold <= upperThreshold) return
    report(`${path}.backends[${b}].lowerThreshold`, 'must not be above the upperThreshold')
  })
}

export function checkServices(context: Context): void {
  const { tables, report, options } = context
  tables.services.forEach((service, s) => {
    const network = resolveName(context, 'network', service.network, `services[${s}].network`)
    if (network !== undefined) checkVips(context, service, s, network)
    checkPorts(context, service, s)
    checkBackends(context, service, s)
    checkOptions(context, service, s)
    if (service.scheduler !== undefined && !options.schedulers.includes(service.scheduler)) {
      const known = options.schedulers
      const hint = didYouMean(service.scheduler, known) || `; there are ${known.join(', ')}`
      report(`services[${s}].scheduler`, `there is no scheduler "${service.scheduler}"${hint}`)
    }
  })
  checkPublishedPorts(context)
  checkTotals(context)
}
