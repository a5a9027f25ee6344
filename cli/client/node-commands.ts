// `weft node …`: the nodes of the swarm.

import type { Command, CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { flag, list, text } from './options.ts'
import { capital, filterQuery, forEachName, info, inspected, type Versioned } from './requests.ts'
import { type Column, renderList } from './table.ts'
import { printTasks, type ShownTask, TASK_LIST_OPTIONS } from './task-list.ts'
import { renderTemplate } from './template.ts'

interface NodeSpec {
  readonly Name?: string
  readonly Labels: Readonly<Record<string, string>> | null
  readonly Role: string
  readonly Availability: string
}

interface ShownNode extends Versioned {
  readonly CreatedAt: string
  readonly Spec: NodeSpec
  readonly Description?: {
    readonly Hostname?: string
    readonly Platform?: { readonly Architecture: string; readonly OS: string }
    readonly Resources?: { readonly NanoCPUs: number; readonly MemoryBytes: number }
    readonly Engine?: {
      readonly EngineVersion: string
      readonly Labels?: Readonly<Record<string, string>>
      readonly Plugins?: readonly { readonly Type: string; readonly Name: string }[]
    }
    readonly TLSInfo?: { readonly TrustRoot: string; readonly CertIssuerSubject: string }
  }
  readonly Status: { readonly State: string; readonly Addr?: string; readonly Message?: string }
  readonly ManagerStatus?: {
    readonly Leader?: boolean
    readonly Reachability: string
    readonly Addr: string
  }
}

interface Row {
  readonly node: ShownNode
  readonly isSelf: boolean
  /** Of the swarm; '' while unknown. */
  readonly trustRoot: string
}

const hostname = ({ Description, Spec }: ShownNode): string =>
  Description?.Hostname ?? Spec.Name ?? ''

function managerStatus({ ManagerStatus: manager }: ShownNode): string {
  if (manager === undefined) return ''
  return manager.Leader === true ? 'Leader' : capital(manager.Reachability)
}

/** Whether the node's certificate is under the root that the swarm trusts. */
function tlsStatus({ node, trustRoot }: Row): string {
  const own = node.Description?.TLSInfo?.TrustRoot ?? ''
  if (own === '' || trustRoot === '') return 'Unknown'
  return own === trustRoot ? 'Ready' : 'Needs Rotation'
}

const LS_COLUMNS: readonly Column<Row>[] = [
  {
    title: 'ID',
    name: 'ID',
    text: ({ node }) => node.ID,
    cell: ({ node, isSelf }) => `${node.ID} ${isSelf ? '*' : ' '}`,
  },
  { title: 'HOSTNAME', name: 'Hostname', text: ({ node }) => hostname(node) },
  { title: 'STATUS', name: 'Status', text: ({ node }) => capital(node.Status.State) },
  {
    title: 'AVAILABILITY',
    name: 'Availability',
    text: ({ node }) => capital(node.Spec.Availability),
  },
  { title: 'MANAGER STATUS', name: 'ManagerStatus', text: ({ node }) => managerStatus(node) },
  {
    title: 'ENGINE VERSION',
    name: 'EngineVersion',
    text: ({ node }) => node.Description?.Engine?.EngineVersion ?? '',
  },
  { title: 'TLS STATUS', name: 'TLSStatus', text: tlsStatus },
  { title: 'SELF', name: 'Self', text: ({ isSelf }) => isSelf },
]
const LS_SHOWN = LS_COLUMNS.map(({ name }) => name).filter(
  (name) => name !== 'Self' && name !== 'TLSStatus',
)

async function ls(call: CommandCall): Promise<number> {
  const query = filterQuery(call.list('filter'))
  const nodes = await call.api.ask<ShownNode[]>('GET', `/nodes${query === '' ? '' : `?${query}`}`)
  const swarm = nodes.length === 0 ? undefined : (await info(call.api)).Swarm
  const trustRoot = swarm?.Cluster?.TLSInfo?.TrustRoot ?? ''
  const rows = [...nodes]
    .sort((a, b) => hostname(a).localeCompare(hostname(b), 'en', { numeric: true }))
    .map((node): Row => ({ node, isSelf: node.ID === swarm?.NodeID, trustRoot }))
  const options = { quiet: call.flag('quiet'), format: call.text('format') }
  call.terminal.out(renderList(rows, LS_COLUMNS, options, ({ node }) => node.ID, LS_SHOWN))
  return 0
}

async function nodeOf(call: CommandCall, name: string): Promise<ShownNode> {
  const id = name === 'self' ? (await info(call.api)).Swarm.NodeID : name
  return call.api.ask('GET', `/nodes/${encodeURIComponent(id)}`)
}

async function inspect(call: CommandCall): Promise<number> {
  const found: ShownNode[] = []
  const status = await forEachName(call.operands, call.terminal.err, async (name) => {
    found.push(await nodeOf(call, name))
  })
  const format = call.text('format')
  if (call.flag('pretty')) call.terminal.out(found.map(pretty).join('\n'))
  else if (format === undefined) call.terminal.out(inspected(found))
  else {
    for (const node of found) {
      call.print(format === 'json' ? JSON.stringify(node) : renderTemplate(format, node))
    }
  }
  return status
}

/** By type: "Network: bridge, overlay". */
function pluginLines(
  plugins: readonly { readonly Type: string; readonly Name: string }[],
): string[][] {
  const byType = Object.groupBy(plugins, ({ Type }) => Type)
  const lines = Object.entries(byType).map(([type, own = []]) => [
    ` ${type}:`,
    own.map(({ Name }) => Name).join(', '),
  ])
  return lines.length === 0 ? [] : [['Plugins:'], ...lines]
}

function pretty(node: ShownNode): string {
  const { Description, Spec, Status, ManagerStatus: manager } = node
  const labels = Object.entries(Spec.Labels ?? {}).map(([name, value]) => ` - ${name}=${value}`)
  const resources = Description?.Resources
  const lines = [
    ['ID:', node.ID],
    ...(Spec.Name === undefined ? [] : [['Name:', Spec.Name]]),
    ...(labels.length === 0 ? [] : [['Labels:'], ...labels.map((label) => [label])]),
    ['Hostname:', hostname(node)],
    ['Joined at:', node.CreatedAt],
    ['Status:'],
    [' State:', capital(Status.State)],
    ...(Status.Message === undefined ? [] : [[' Message:', Status.Message]]),
    [' Availability:', capital(Spec.Availability)],
    ...(Status.Addr === undefined ? [] : [[' Address:', Status.Addr]]),
    ...(manager === undefined
      ? []
      : [
          ['Manager Status:'],
          [' Address:', manager.Addr],
          [' Raft Status:', capital(manager.Reachability)],
          [' Leader:', manager.Leader === true ? 'Yes' : 'No'],
        ]),
    ['Platform:'],
    [' Operating System:', Description?.Platform?.OS ?? ''],
    [' Architecture:', Description?.Platform?.Architecture ?? ''],
    ['Resources:'],
    [' CPUs:', String((resources?.NanoCPUs ?? 0) / 1e9)],
    [' Memory:', `${((resources?.MemoryBytes ?? 0) / 2 ** 30).toFixed(3)}GiB`],
    ...pluginLines(Description?.Engine?.Plugins ?? []),
    ['Engine Version:', Description?.Engine?.EngineVersion ?? ''],
  ]
  const width = Math.max(...lines.map(([head]) => head!.length)) + 1
  return lines
    .map(([head, value]) =>
      value === undefined ? `${head}\n` : `${head!.padEnd(width)}${value}\n`,
    )
    .join('')
}

/** Changes a node's spec, on top of what it is now. Returns false when nothing would change. */
async function change(
  call: CommandCall,
  name: string,
  next: (spec: NodeSpec) => NodeSpec,
): Promise<boolean> {
  const { ID, Version, Spec } = await nodeOf(call, name)
  const spec = next({ ...Spec, Labels: Spec.Labels ?? {} })
  if (JSON.stringify(spec) === JSON.stringify({ ...Spec, Labels: Spec.Labels ?? {} })) return false
  await call.api.ask('POST', `/nodes/${ID}/update?version=${Version.Index}`, spec)
  return true
}

async function update(call: CommandCall): Promise<number> {
  const [name] = call.operands as [string]
  const role = oneOf(call, 'role', ['worker', 'manager'])
  const availability = oneOf(call, 'availability', ['active', 'pause', 'drain'])
  await change(call, name, (spec) => {
    const labels = { ...spec.Labels }
    for (const label of call.list('label-add')) {
      const at = label.indexOf('=')
      labels[at < 0 ? label : label.slice(0, at)] = at < 0 ? '' : label.slice(at + 1)
    }
    for (const label of call.list('label-rm')) {
      if (!Object.hasOwn(labels, label)) {
        throw new CommandError(`key ${label} doesn't exist in node's labels`)
      }
      delete labels[label]
    }
    return {
      ...spec,
      Labels: labels,
      Role: role ?? spec.Role,
      Availability: availability ?? spec.Availability,
    }
  })
  call.print(name)
  return 0
}

function oneOf(call: CommandCall, name: string, known: readonly string[]): string | undefined {
  const value = call.text(name)?.toLowerCase()
  if (value === undefined || known.includes(value)) return value
  throw new CommandError(`invalid argument "${value}" for --${name}: there are ${known.join(', ')}`)
}

function roleChange(role: 'manager' | 'worker', done: (name: string) => string) {
  return (call: CommandCall): Promise<number> =>
    forEachName(call.operands, call.terminal.err, async (name) => {
      const isChanged = await change(call, name, (spec) => ({ ...spec, Role: role }))
      call.print(isChanged ? done(name) : `Node ${name} is already a ${role}.`)
    })
}

function rm(call: CommandCall): Promise<number> {
  const force = call.flag('force') ? '?force=1' : ''
  return forEachName(call.operands, call.terminal.err, async (name) => {
    await call.api.ask('DELETE', `/nodes/${encodeURIComponent(name)}${force}`)
    call.print(name)
  })
}

async function ps(call: CommandCall): Promise<number> {
  const names = call.operands.length === 0 ? ['self'] : call.operands
  const nodes = await Promise.all(names.map((name) => nodeOf(call, name)))
  const filters = [...call.list('filter'), ...nodes.map(({ ID }) => `node=${ID}`)]
  const tasks = await call.api.ask<ShownTask[]>('GET', `/tasks?${filterQuery(filters)}`)
  await printTasks(call, tasks)
  return 0
}

export const NODE_COMMANDS: readonly Command[] = [
  {
    name: 'ls',
    aliases: ['list'],
    summary: 'List the nodes of the swarm',
    operands: '',
    count: [0, 0],
    options: {
      filter: list('FILTER', 'Only nodes for which it is so: role=manager, name=, …', 'f'),
      format: text('FORMAT', 'table (default), json or a template'),
      quiet: flag('Ids alone', 'q'),
    },
    run: ls,
  },
  {
    name: 'inspect',
    summary: 'Show all of nodes',
    operands: 'self|NODE [NODE...]',
    count: [1, 1000],
    options: {
      format: text('FORMAT', 'json or a template', 'f'),
      pretty: flag('For people'),
    },
    run: inspect,
  },
  {
    name: 'update',
    summary: 'Change a node',
    operands: 'NODE',
    count: [1, 1],
    options: {
      availability: text('WHICH', 'active, pause or drain'),
      'label-add': list('KEY=VALUE', 'Add or change a label'),
      'label-rm': list('KEY', 'Remove a label'),
      role: text('ROLE', 'worker or manager'),
    },
    run: update,
  },
  {
    name: 'promote',
    summary: 'Make nodes managers',
    operands: 'NODE [NODE...]',
    count: [1, 1000],
    options: {},
    run: roleChange('manager', (name) => `Node ${name} promoted to a manager in the swarm.`),
  },
  {
    name: 'demote',
    summary: 'Make managers workers',
    operands: 'NODE [NODE...]',
    count: [1, 1000],
    options: {},
    run: roleChange('worker', (name) => `Manager ${name} demoted in the swarm.`),
  },
  {
    name: 'rm',
    aliases: ['remove'],
    summary: 'Remove nodes that have left',
    operands: 'NODE [NODE...]',
    count: [1, 1000],
    options: { force: flag('Also a node that is not down', 'f') },
    run: rm,
  },
  {
    name: 'ps',
    summary: 'List the tasks of nodes, of this one by default',
    operands: '[NODE...]',
    count: [0, 1000],
    options: TASK_LIST_OPTIONS,
    run: ps,
  },
]
