// `weft network …`: the networks of the swarm. Networks of one node are its engine's business, so
// the driver is "overlay" where none is given; the docker CLI makes others.

import type { Json } from '../stack/json.ts'
import type { Command, CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { flag, list, text } from './options.ts'
import { filterQuery, forEachName, inspected } from './requests.ts'
import { type Column, renderList } from './table.ts'
import { renderTemplate } from './template.ts'
import { keyValue } from './values.ts'

interface ShownNetwork {
  readonly Id: string
  readonly Name: string
  readonly Driver: string
  readonly Scope: string
  readonly Created: string
  readonly Internal?: boolean
  readonly Ingress?: boolean
  readonly EnableIPv4?: boolean
  readonly EnableIPv6?: boolean
  readonly Labels?: Readonly<Record<string, string>> | null
}

const REFUSED: Readonly<Record<string, string>> = {
  'config-from': 'is for networks of one node: use the docker CLI for these',
  'config-only': 'is for networks of one node: use the docker CLI for these',
}

const pairs = (values: readonly string[]): Record<string, string> =>
  Object.fromEntries(values.map(keyValue))

function addressFamily(text: string): 4 | 6 {
  return text.includes(':') ? 6 : 4
}

/** Gateways, ranges and auxiliary addresses belong to the subnet of their family. */
function ipamConfig(call: CommandCall): Json[] {
  const subnets = call.list('subnet').flatMap((one) => one.split(','))
  const config: Json[] = subnets.map((Subnet) => ({ Subnet }))
  const put = (option: string, member: string, text: string, value: unknown): void => {
    const family = addressFamily(text)
    const at = config.find(
      (one) => addressFamily(String(one.Subnet)) === family && one[member] === undefined,
    )
    if (at === undefined) {
      throw new CommandError(`no matching subnet for ${option} ${text}`)
    }
    at[member] = value
  }
  for (const one of call.list('gateway')) put('gateway', 'Gateway', one, one)
  for (const one of call.list('ip-range')) put('range', 'IPRange', one, one)
  for (const four of [true, false]) {
    const own = Object.entries(pairs(call.list('aux-address'))).filter(
      ([, address]) => (addressFamily(address) === 4) === four,
    )
    if (own.length > 0) {
      put('aux-address', 'AuxiliaryAddresses', own[0]![1], Object.fromEntries(own))
    }
  }
  return config
}

async function create(call: CommandCall): Promise<number> {
  for (const [option, why] of Object.entries(REFUSED)) {
    if (call.isGiven(option)) throw new CommandError(`--${option} ${why}`)
  }
  const config = ipamConfig(call)
  const driver = call.text('ipam-driver')
  const scope = call.text('scope')
  const hasIpam = config.length > 0 || driver !== undefined || call.isGiven('ipam-opt')
  const { Id, Warning } = await call.api.ask<{ Id: string; Warning?: string }>(
    'POST',
    '/networks/create',
    {
      Name: call.operands[0],
      Driver: call.text('driver') ?? 'overlay',
      Options: pairs(call.list('opt')),
      Labels: pairs(call.list('label')),
      Internal: call.flag('internal'),
      Attachable: call.flag('attachable'),
      Ingress: call.flag('ingress'),
      ...(scope === undefined ? {} : { Scope: scope }),
      ...(call.isGiven('ipv6') ? { EnableIPv6: call.flag('ipv6') } : {}),
      ...(call.isGiven('ipv4') ? { EnableIPv4: call.flag('ipv4') } : {}),
      ...(hasIpam
        ? {
            IPAM: {
              Driver: driver ?? 'default',
              Options: pairs(call.list('ipam-opt')),
              Config: config,
            },
          }
        : {}),
    },
  )
  if (Warning !== undefined && Warning !== '') call.terminal.err(`WARNING: ${Warning}\n`)
  call.print(Id)
  return 0
}

const COLUMNS = (isWhole: boolean): readonly Column<ShownNetwork>[] => [
  { title: 'NETWORK ID', name: 'ID', text: ({ Id }) => (isWhole ? Id : Id.slice(0, 12)) },
  { title: 'NAME', name: 'Name', text: ({ Name }) => Name },
  { title: 'DRIVER', name: 'Driver', text: ({ Driver }) => Driver },
  { title: 'SCOPE', name: 'Scope', text: ({ Scope }) => Scope },
  { title: 'CREATED AT', name: 'CreatedAt', text: ({ Created }) => Created },
  { title: 'INTERNAL', name: 'Internal', text: ({ Internal }) => String(Internal ?? false) },
  { title: 'IPV4', name: 'IPv4', text: ({ EnableIPv4 }) => String(EnableIPv4 ?? true) },
  { title: 'IPV6', name: 'IPv6', text: ({ EnableIPv6 }) => String(EnableIPv6 ?? false) },
  {
    title: 'LABELS',
    name: 'Labels',
    text: ({ Labels }) =>
      Object.entries(Labels ?? {})
        .map(([name, value]) => `${name}=${value}`)
        .join(','),
  },
]

async function ls(call: CommandCall): Promise<number> {
  const query = filterQuery(call.list('filter'))
  const path = `/networks${query === '' ? '' : `?${query}`}`
  const networks = await call.api.ask<ShownNetwork[]>('GET', path)
  networks.sort((a, b) => a.Name.localeCompare(b.Name, 'en', { numeric: true }))
  const options = { quiet: call.flag('quiet'), format: call.text('format') }
  const isWhole = call.flag('no-trunc')
  const idOf = ({ Id }: ShownNetwork): string => (isWhole ? Id : Id.slice(0, 12))
  const shown = ['ID', 'Name', 'Driver', 'Scope']
  call.terminal.out(renderList(networks, COLUMNS(isWhole), options, idOf, shown))
  return 0
}

async function inspect(call: CommandCall): Promise<number> {
  const found: ShownNetwork[] = []
  const verbose = call.flag('verbose') ? '?verbose=true' : ''
  const status = await forEachName(call.operands, call.terminal.err, async (name) => {
    found.push(await call.api.ask('GET', `/networks/${encodeURIComponent(name)}${verbose}`))
  })
  const format = call.text('format')
  if (format === undefined) call.terminal.out(inspected(found))
  else {
    for (const network of found) {
      call.print(format === 'json' ? JSON.stringify(network) : renderTemplate(format, network))
    }
  }
  return status
}

const INGRESS_WARNING =
  'WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run ' +
  'the same docker engine version. Otherwise, removal may not be effective and functionality of ' +
  'newly created ingress networks will be impaired.\nAre you sure you want to continue? [y/N] '

function rm(call: CommandCall): Promise<number> {
  return forEachName(call.operands, call.terminal.err, async (name) => {
    const path = `/networks/${encodeURIComponent(name)}`
    const { status, json } = await call.api.call('GET', path)
    if (status === 404 && call.flag('force')) return
    if ((Object(json) as Partial<ShownNetwork>).Ingress === true) {
      const answer = await call.terminal.readLine(INGRESS_WARNING, false)
      if (!/^y(es)?$/i.test(answer.trim())) throw new CommandError('it was not removed')
    }
    await call.api.ask('DELETE', path)
    call.print(name)
  })
}

const PRUNE_WARNING =
  'WARNING! This will remove all custom networks not used by at least one service.\n' +
  'Are you sure you want to continue? [y/N] '

async function prune(call: CommandCall): Promise<number> {
  if (!call.flag('force')) {
    const answer = await call.terminal.readLine(PRUNE_WARNING, false)
    if (!/^y(es)?$/i.test(answer.trim())) throw new CommandError('nothing was removed')
  }
  const query = filterQuery(call.list('filter'))
  const path = `/networks/prune${query === '' ? '' : `?${query}`}`
  const { NetworksDeleted } = await call.api.ask<{ NetworksDeleted: string[] | null }>('POST', path)
  if (NetworksDeleted === null || NetworksDeleted.length === 0) return 0
  call.print(`Deleted Networks:\n${NetworksDeleted.join('\n')}\n`)
  return 0
}

export const NETWORK_COMMANDS: readonly Command[] = [
  {
    name: 'create',
    summary: 'Create a network',
    operands: 'NETWORK',
    count: [1, 1],
    options: {
      attachable: flag('Containers that are no tasks may join it'),
      'aux-address': list('NAME=IP', 'An address that is somebody else’s'),
      'config-from': text('NETWORK', 'Refused: for networks of one node'),
      'config-only': flag('Refused: for networks of one node'),
      driver: text('DRIVER', 'overlay (default)', 'd'),
      gateway: list('IP', 'Gateway of a subnet'),
      ingress: flag('The network of the routing mesh'),
      internal: flag('No way out of it'),
      'ip-range': list('CIDR', 'Part of a subnet from which addresses are given'),
      'ipam-driver': text('DRIVER', 'Who gives addresses (default "default")'),
      'ipam-opt': list('KEY=VALUE', 'An option of this driver'),
      ipv4: flag('IPv4 addresses (default true)'),
      ipv6: flag('IPv6 addresses'),
      label: list('KEY=VALUE', 'A label of the network'),
      opt: list('KEY=VALUE', 'An option of the driver: encrypted=false, …', 'o'),
      scope: text('SCOPE', 'swarm'),
      subnet: list('CIDR', 'A subnet of the network'),
    },
    run: create,
  },
  {
    name: 'ls',
    aliases: ['list'],
    summary: 'List the networks',
    operands: '',
    count: [0, 0],
    options: {
      filter: list('FILTER', 'Only networks for which it is so: driver=overlay, name=, …', 'f'),
      format: text('FORMAT', 'table (default), json or a template'),
      'no-trunc': flag('Do not cut ids'),
      quiet: flag('Ids alone', 'q'),
    },
    run: ls,
  },
  {
    name: 'inspect',
    summary: 'Show all of networks',
    operands: 'NETWORK [NETWORK...]',
    count: [1, 1000],
    options: {
      format: text('FORMAT', 'json or a template', 'f'),
      verbose: flag('Its services and their tasks as well', 'v'),
    },
    run: inspect,
  },
  {
    name: 'rm',
    aliases: ['remove'],
    summary: 'Remove networks',
    operands: 'NETWORK [NETWORK...]',
    count: [1, 1000],
    options: { force: flag('It is no error when there is none', 'f') },
    run: rm,
  },
  {
    name: 'prune',
    summary: 'Remove the networks that nobody uses',
    operands: '',
    count: [0, 0],
    options: {
      filter: list('FILTER', 'Only networks for which it is so: label=, label!=, until='),
      force: flag('Do not ask', 'f'),
    },
    run: prune,
  },
]
