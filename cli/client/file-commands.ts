// `weft secret …` and `weft config …`: files that tasks get. What is in a secret is read from a
// file or standard input and never shown.

import { readFileSync } from 'node:fs'
import { CONFIG_BYTES_MAX, SECRET_BYTES_MAX } from '../../controlplane/api/limits.ts'
import { fileReason } from '../key-file.ts'
import type { Command, CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { flag, list, text } from './options.ts'
import { filterQuery, forEachName, inspected } from './requests.ts'
import { type Column, renderList, since } from './table.ts'
import { renderTemplate } from './template.ts'
import { keyValue } from './values.ts'

interface Kind {
  readonly noun: 'secret' | 'config'
  readonly bytesMax: number
}

interface ShownFile {
  readonly ID: string
  readonly CreatedAt: string
  readonly UpdatedAt: string
  readonly Spec: {
    readonly Name: string
    readonly Labels?: Readonly<Record<string, string>> | null
    /** Base64; of configs only. */
    readonly Data?: string
    readonly Driver?: { readonly Name: string }
  }
}

const STDIN = 0

function read(path: string, { noun, bytesMax }: Kind): Buffer {
  let data: Buffer
  try {
    data = readFileSync(path === '-' ? STDIN : path)
  } catch (error) {
    throw new CommandError(`error reading content from "${path}": ${fileReason(error)}`)
  }
  if (data.length < bytesMax) return data
  throw new CommandError(`the ${noun} is too large: it must be smaller than ${bytesMax} bytes`)
}

async function create(call: CommandCall, kind: Kind): Promise<number> {
  const [name, path] = call.operands as [string, string | undefined]
  const driver = call.text('driver')
  const template = call.text('template-driver')
  if (driver !== undefined && path !== undefined) {
    throw new CommandError('when using secret driver secret data must be empty')
  }
  if (driver === undefined && path === undefined) {
    throw new CommandError(`"${kind.noun} create" needs a file, or "-" for standard input`)
  }
  const { ID } = await call.api.ask<{ ID: string }>('POST', `/${kind.noun}s/create`, {
    Name: name,
    Labels: Object.fromEntries(call.list('label').map(keyValue)),
    ...(path === undefined ? {} : { Data: read(path, kind).toString('base64') }),
    ...(driver === undefined ? {} : { Driver: { Name: driver } }),
    ...(template === undefined ? {} : { Templating: { Name: template } }),
  })
  call.print(ID)
  return 0
}

const COLUMNS: readonly Column<ShownFile>[] = [
  { title: 'ID', name: 'ID', text: ({ ID }) => ID },
  { title: 'NAME', name: 'Name', text: ({ Spec }) => Spec.Name },
  { title: 'DRIVER', name: 'Driver', text: ({ Spec }) => Spec.Driver?.Name ?? '' },
  {
    title: 'CREATED',
    name: 'CreatedAt',
    text: ({ CreatedAt }) => since(Date.parse(CreatedAt), Date.now()),
  },
  {
    title: 'UPDATED',
    name: 'UpdatedAt',
    text: ({ UpdatedAt }) => since(Date.parse(UpdatedAt), Date.now()),
  },
  { title: 'LABELS', name: 'Labels', text: ({ Spec }) => labels(Spec).join(',') },
]

const labels = ({ Labels }: ShownFile['Spec']): string[] =>
  Object.entries(Labels ?? {}).map(([name, value]) => `${name}=${value}`)

async function ls(call: CommandCall, { noun }: Kind): Promise<number> {
  const query = filterQuery(call.list('filter'))
  const path = `/${noun}s${query === '' ? '' : `?${query}`}`
  const files = await call.api.ask<ShownFile[]>('GET', path)
  files.sort((a, b) => a.Spec.Name.localeCompare(b.Spec.Name, 'en', { numeric: true }))
  const shown = COLUMNS.map(({ name }) => name).filter(
    (name) => name !== 'Labels' && (noun === 'secret' || name !== 'Driver'),
  )
  const options = { quiet: call.flag('quiet'), format: call.text('format') }
  call.terminal.out(renderList(files, COLUMNS, options, ({ ID }) => ID, shown))
  return 0
}

async function inspect(call: CommandCall, { noun }: Kind): Promise<number> {
  const found: ShownFile[] = []
  const status = await forEachName(call.operands, call.terminal.err, async (name) => {
    found.push(await call.api.ask('GET', `/${noun}s/${encodeURIComponent(name)}`))
  })
  const format = call.text('format')
  if (call.flag('pretty')) call.terminal.out(found.map(pretty).join('\n'))
  else if (format === undefined) call.terminal.out(inspected(found))
  else {
    for (const file of found) {
      call.print(format === 'json' ? JSON.stringify(file) : renderTemplate(format, file))
    }
  }
  return status
}

function pretty({ ID, CreatedAt, UpdatedAt, Spec }: ShownFile): string {
  const lines = [
    `ID:\t\t\t${ID}`,
    `Name:\t\t\t${Spec.Name}`,
    ...(labels(Spec).length === 0 ? [] : ['Labels:']),
    ...labels(Spec).map((label) => ` - ${label.replace(/=$/, '')}`),
    `Driver:\t\t\t${Spec.Driver?.Name ?? ''}`,
    `Created at:            \t${CreatedAt}`,
    `Updated at:            \t${UpdatedAt}`,
  ]
  if (Spec.Data === undefined) return `${lines.join('\n')}\n`
  const data = Buffer.from(Spec.Data, 'base64').toString('utf8')
  return `${lines.filter((line) => !line.startsWith('Driver')).join('\n')}\nData:\n${data}\n`
}

function rm(call: CommandCall, { noun }: Kind): Promise<number> {
  return forEachName(call.operands, call.terminal.err, async (name) => {
    await call.api.ask('DELETE', `/${noun}s/${encodeURIComponent(name)}`)
    call.print(name)
  })
}

function commandsOf(kind: Kind): readonly Command[] {
  const { noun } = kind
  const name = noun.toUpperCase()
  const isSecret = noun === 'secret'
  return [
    {
      name: 'create',
      summary: `Make a ${noun} of a file, or of standard input ("-")`,
      operands: isSecret ? `${name} [FILE|-]` : `${name} FILE|-`,
      count: [isSecret ? 1 : 2, 2],
      options: {
        label: list('KEY=VALUE', `A label of the ${noun}`, 'l'),
        'template-driver': text('DRIVER', 'golang: the content is a template'),
        ...(isSecret ? { driver: text('DRIVER', 'Where the content comes from', 'd') } : {}),
      },
      run: (call) => create(call, kind),
    },
    {
      name: 'ls',
      aliases: ['list'],
      summary: `List the ${noun}s`,
      operands: '',
      count: [0, 0],
      options: {
        filter: list('FILTER', `Only ${noun}s for which it is so: name=, label=, id=`, 'f'),
        format: text('FORMAT', 'table (default), json or a template'),
        quiet: flag('Ids alone', 'q'),
      },
      run: (call) => ls(call, kind),
    },
    {
      name: 'inspect',
      summary: `Show all of ${noun}s${isSecret ? ' but their content' : ''}`,
      operands: `${name} [${name}...]`,
      count: [1, 1000],
      options: { format: text('FORMAT', 'json or a template', 'f'), pretty: flag('For people') },
      run: (call) => inspect(call, kind),
    },
    {
      name: 'rm',
      aliases: ['remove'],
      summary: `Remove ${noun}s`,
      operands: `${name} [${name}...]`,
      count: [1, 1000],
      options: {},
      run: (call) => rm(call, kind),
    },
  ]
}

export const SECRET_COMMANDS: readonly Command[] = commandsOf({
  noun: 'secret',
  bytesMax: SECRET_BYTES_MAX,
})
export const CONFIG_COMMANDS: readonly Command[] = commandsOf({
  noun: 'config',
  bytesMax: CONFIG_BYTES_MAX,
})
