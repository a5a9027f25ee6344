// Tables as the docker CLI prints them (Go's text/tabwriter with minimum width 10 and padding 3),
// and the other ways to show rows: ids alone, a template, JSON lines.

import { renderTemplate } from './template.ts'

const WIDTH_MIN = 10
const PADDING = 3

/** A column: its title in the table, its name in templates, and its text. */
export interface Column<Row> {
  readonly title: string
  readonly name: string
  readonly text: (row: Row) => string | boolean
  /** In the table, where it is not the text. */
  readonly cell?: (row: Row) => string
}

export interface ListOptions {
  readonly quiet: boolean
  readonly format: string | undefined
}

/** Rows as `--format` and `--quiet` want them. `quietText` is what `-q` shows of a row. */
export function renderList<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { quiet, format }: ListOptions,
  quietText: (row: Row) => string,
  shown: readonly string[] = columns.map(({ name }) => name),
): string {
  const values = (row: Row): Record<string, string | boolean> =>
    Object.fromEntries(columns.map(({ name, text }) => [name, text(row)]))
  if (quiet && (format === undefined || format === 'table')) {
    return rows.map((row) => `${quietText(row)}\n`).join('')
  }
  if (format === 'json') return rows.map((row) => `${JSON.stringify(values(row))}\n`).join('')
  if (format !== undefined && format !== 'table') {
    const isTable = format.startsWith('table ')
    const template = withTabs(isTable ? format.slice('table '.length) : format)
    const lines = rows.map((row) => renderTemplate(template, values(row)))
    if (!isTable) return lines.map((line) => `${line}\n`).join('')
    const titles = Object.fromEntries(columns.map(({ name, title }) => [name, title]))
    return align([renderTemplate(template, titles), ...lines].map((line) => line.split('\t')))
  }
  const visible = columns.filter(({ name }) => shown.includes(name))
  const head = visible.map(({ title }) => title)
  const cells = (row: Row): string[] =>
    visible.map(({ text, cell }) => (cell === undefined ? String(text(row)) : cell(row)))
  return align([head, ...rows.map(cells)])
}

/** Columns under each other; the last one has no padding. */
export function align(lines: readonly (readonly string[])[]): string {
  const count = Math.max(0, ...lines.map((cells) => cells.length))
  const widths = Array.from({ length: count }, (_, i) =>
    Math.max(
      WIDTH_MIN,
      ...lines.filter((cells) => i < cells.length - 1).map((cells) => cells[i]!.length + PADDING),
    ),
  )
  return lines
    .map((cells) => {
      const padded = cells.map((cell, i) => (i < cells.length - 1 ? cell.padEnd(widths[i]!) : cell))
      return `${padded.join('')}\n`
    })
    .join('')
}

/** "\t" and "\n" as a shell hands them over. */
function withTabs(text: string): string {
  return text.replaceAll('\\t', '\t').replaceAll('\\n', '\n')
}

/** "2 minutes ago" and its like (docker/go-units, HumanDuration). */
export function since(thenMs: number, nowMs: number): string {
  const seconds = Math.floor((nowMs - thenMs) / 1000)
  const minutes = Math.floor(seconds / 60)
  const hours = Math.round(minutes / 60)
  if (seconds < 1) return 'less than a second ago'
  if (seconds === 1) return '1 second ago'
  if (seconds < 60) return `${seconds} seconds ago`
  if (minutes === 1) return 'about a minute ago'
  if (minutes < 60) return `${minutes} minutes ago`
  if (hours === 1) return 'about an hour ago'
  if (hours < 48) return `${hours} hours ago`
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days ago`
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks ago`
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months ago`
  return `${Math.floor(hours / 24 / 365)} years ago`
}
