// What a service of a compose file sees of files: mounts, secrets, configs.

import { compact, type Json } from './json.ts'
import type { StackNames } from './names.ts'
import { sizeBytes } from './units.ts'
import type { Value } from './yaml-reader.ts'

/** "target[:options]". */
export function tmpfs(text: string): Json {
  const [target, options = ''] = text.split(':')
  const sized = /(?:^|,)size=(\w+)/.exec(options)
  const bytes = sized === null ? undefined : sizeBytes(sized[1]!)
  return compact({ Type: 'tmpfs', Target: target, TmpfsOptions: compact({ SizeBytes: bytes }) })
}

/** Short form "[source:]target[:options]", or the mapping of the long one. */
export function volume(value: Value, names: StackNames): Json[] {
  if (!value.isMap) return [shortVolume(value, names)]
  value.allow(['type', 'source', 'target', 'read_only', 'bind', 'volume', 'tmpfs', 'consistency'])
  const type = value.get('type').word(['volume', 'bind', 'tmpfs', 'npipe', 'cluster']) ?? 'volume'
  const source = value.get('source').optionalText()
  const target = value.get('target').text()
  if (target === '') value.problem('a mount needs a target')
  const size = value.get('tmpfs').get('size')
  const bytes = size.isMissing ? undefined : sizeBytes(size.text())
  const readOnly = value.get('read_only').flag() ?? false
  const propagation = value.get('bind').get('propagation').optionalText()
  const noCopy = value.get('volume').get('nocopy').flag()
  return [
    mount(type, source, target, readOnly, value, names, {
      ...(bytes === undefined ? {} : { TmpfsOptions: { SizeBytes: bytes } }),
      ...(propagation === undefined ? {} : { BindOptions: { Propagation: propagation } }),
      ...(noCopy === undefined ? {} : { VolumeOptions: { NoCopy: noCopy } }),
    }),
  ]
}

function shortVolume(value: Value, names: StackNames): Json {
  const parts = value.text().split(':')
  const [first = '', second, options = ''] = parts
  if (parts.length > 3 || first === '') value.problem('invalid volume specification')
  if (second === undefined) return mount('volume', undefined, first, false, value, names, {})
  const words = options.split(',').filter(Boolean)
  const propagation = words.find((word) => /^r?(shared|slave|private)$/.test(word))
  const type = /^[./~]/.test(first) ? 'bind' : 'volume'
  const extra = propagation === undefined ? {} : { BindOptions: { Propagation: propagation } }
  return mount(type, first, second, words.includes('ro'), value, names, {
    ...extra,
    ...(words.includes('nocopy') ? { VolumeOptions: { NoCopy: true } } : {}),
  })
}

function mount(
  type: string,
  source: string | undefined,
  target: string,
  readOnly: boolean,
  value: Value,
  names: StackNames,
  more: Json,
): Json {
  const base = compact({ Type: type, Target: target, ReadOnly: readOnly || undefined })
  if (type === 'bind') {
    if (source === undefined) value.problem('invalid bind source, source cannot be empty')
    return { ...base, Source: absolute(source ?? '', names.directory), ...more }
  }
  if (type !== 'volume' || source === undefined) return { ...base, ...more }
  const plan = names.volumes.get(source)
  if (plan === undefined) {
    value.problem(`undefined volume "${source}"`)
    return base
  }
  const options = compact({
    ...((more.VolumeOptions as Json | undefined) ?? {}),
    Labels: plan.labels,
    DriverConfig: plan.driver === '' ? {} : compact({ Name: plan.driver, Options: plan.options }),
  })
  return { ...base, Source: plan.name, ...more, ...compact({ VolumeOptions: options }) }
}

function absolute(path: string, directory: string): string {
  if (path.startsWith('/')) return path
  return `${directory}/${path}`.replaceAll('/./', '/').replace(/\/\.$/, '')
}

/** Secrets or configs: names, or mappings with source, target, uid, gid and mode. */
export function references(
  value: Value,
  known: ReadonlyMap<string, string>,
  kind: 'Secret' | 'Config',
): Json[] {
  return value.list().map((entry) => {
    if (entry.isMap) entry.allow(['source', 'target', 'uid', 'gid', 'mode'])
    const source = entry.isMap ? entry.get('source').text() : entry.text()
    const name = known.get(source)
    if (name === undefined) entry.problem(`undefined ${kind.toLowerCase()} "${source}"`)
    const target = entry.isMap ? entry.get('target').optionalText() : undefined
    const field = (key: string): string => (entry.isMap ? entry.get(key).text('0') : '0')
    const mode = entry.isMap ? entry.get('mode').optionalText() : undefined
    const bits = mode === undefined ? 0o444 : fileMode(mode)
    if (Number.isNaN(bits)) entry.get('mode').problem(`invalid mode "${mode}"`)
    return {
      [`${kind}Name`]: name ?? source,
      File: { Name: target ?? source, UID: field('uid'), GID: field('gid'), Mode: bits },
    }
  })
}

/** "0440" is octal in YAML 1.1, as compose files mean it; "288" is decimal. */
function fileMode(text: string): number {
  if (/^0o?[0-7]+$/.test(text)) return Number.parseInt(text.replace(/^0o?/, ''), 8)
  return /^\d+$/.test(text) ? Number(text) : Number.NaN
}
