// "--mount type=bind,source=/a,target=/b,readonly" as the Engine API has it (docker/cli,
// opts/mount.go). Data: a row per key.

import { compact, type Json } from '../stack/json.ts'
import { sizeBytes } from '../stack/units.ts'
import { csvPairs, invalid, keyValue, type Parse } from './values.ts'

interface Key {
  /** Member of the mount: "BindOptions.Propagation". */
  readonly path: string
  readonly kind: 'text' | 'flag' | 'pair' | 'size' | 'octal' | 'number'
}

const key = (path: string, kind: Key['kind'] = 'text'): Key => ({ path, kind })

const KEYS: Readonly<Record<string, Key>> = {
  type: key('Type'),
  source: key('Source'),
  src: key('Source'),
  target: key('Target'),
  dst: key('Target'),
  destination: key('Target'),
  readonly: key('ReadOnly', 'flag'),
  ro: key('ReadOnly', 'flag'),
  consistency: key('Consistency'),
  'bind-propagation': key('BindOptions.Propagation'),
  'bind-nonrecursive': key('BindOptions.NonRecursive', 'flag'),
  'bind-create-src': key('BindOptions.CreateMountpoint', 'flag'),
  'volume-nocopy': key('VolumeOptions.NoCopy', 'flag'),
  'volume-subpath': key('VolumeOptions.Subpath'),
  'volume-label': key('VolumeOptions.Labels', 'pair'),
  'volume-driver': key('VolumeOptions.DriverConfig.Name'),
  'volume-opt': key('VolumeOptions.DriverConfig.Options', 'pair'),
  'image-subpath': key('ImageOptions.Subpath'),
  'tmpfs-size': key('TmpfsOptions.SizeBytes', 'size'),
  'tmpfs-mode': key('TmpfsOptions.Mode', 'octal'),
}
const ALONE = Object.entries(KEYS)
  .filter(([, { kind }]) => kind === 'flag')
  .map(([name]) => name)
const TYPES: readonly string[] = ['volume', 'bind', 'tmpfs', 'npipe', 'cluster', 'image']
/** Keys of these groups belong to one type. */
const GROUPS: readonly string[] = ['bind', 'volume', 'tmpfs', 'image']
/** What "bind-recursive" stands for. */
const RECURSIVE: Readonly<Record<string, Json>> = {
  enabled: {},
  disabled: { NonRecursive: true },
  writable: { ReadOnlyNonRecursive: true },
  readonly: { ReadOnlyForceRecursive: true },
}

export const asMount: Parse = (line, option) => {
  const mount: Json = { Type: 'volume' }
  const groups = new Set<string>()
  for (const [name, value] of csvPairs(line, option, ALONE)) {
    const group = GROUPS.find((one) => name.startsWith(`${one}-`))
    if (group !== undefined) groups.add(group)
    if (name === 'bind-recursive') {
      const flags = Object.hasOwn(RECURSIVE, value) ? RECURSIVE[value] : undefined
      if (flags === undefined) throw invalid(line, option, `invalid value for ${name}: ${value}`)
      mount.BindOptions = { ...(mount.BindOptions as Json | undefined), ...flags }
      continue
    }
    const known = Object.hasOwn(KEYS, name) ? KEYS[name] : undefined
    if (known === undefined) throw invalid(line, option, `unexpected key '${name}' in '${line}'`)
    put(mount, known, value, () => invalid(line, option, `invalid value for ${name}: ${value}`))
  }
  return checked(mount, groups, line, option)
}

function put(mount: Json, { path, kind }: Key, value: string, wrong: () => Error): void {
  const names = path.split('.')
  const last = names.pop()!
  let at = mount
  for (const name of names) {
    at[name] ??= {}
    at = at[name] as Json
  }
  if (kind === 'pair') {
    const [label, setting] = keyValue(value)
    at[last] = { ...(at[last] as Json | undefined), [label]: setting }
    return
  }
  const parsed = settingOf(kind, value)
  if (parsed === undefined) throw wrong()
  at[last] = parsed
}

function settingOf(kind: Key['kind'], value: string): unknown {
  switch (kind) {
    case 'flag':
      if (/^(1|t|true)$/i.test(value)) return true
      return /^(0|f|false)$/i.test(value) ? false : undefined
    case 'size':
      return sizeBytes(value)
    case 'octal':
      return /^[0-7]{1,5}$/.test(value) ? Number.parseInt(value, 8) : undefined
    default:
      return value
  }
}

function checked(mount: Json, groups: ReadonlySet<string>, line: string, option: string): Json {
  const type = String(mount.Type).toLowerCase()
  mount.Type = type
  if (!TYPES.includes(type)) throw invalid(line, option, `invalid mount type "${type}"`)
  if (mount.Target === undefined) throw invalid(line, option, 'target is required')
  for (const group of groups) {
    if (group === type) continue
    throw invalid(line, option, `cannot mix '${group}-*' options with mount type '${type}'`)
  }
  if (type === 'bind' && mount.Source === undefined) {
    throw invalid(line, option, 'source is required for a bind')
  }
  return compact(mount)
}
