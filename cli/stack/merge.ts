// Several compose files as one: what a later file says goes over what an earlier one said, as
// `docker stack deploy -c A -c B` has it (docker/cli, loader/merge.go). Scalars are replaced,
// mappings are merged, lists are joined; of networks, volumes, secrets and configs and of what has
// a key of its own (a published port, a path in the container, the name of a secret) the later one
// stays whole. Every value keeps its place in its file.

import { shortPorts } from './convert-ports.ts'
import type { Value, YamlFile } from './yaml-reader.ts'

type Merge = (base: Value, over: Value) => Value

/** The files as one document. `files` is not empty. */
export function mergeFiles(files: readonly YamlFile[]): Value {
  const [first, ...others] = files.map(({ root }) => root)
  return others.reduce(mergeRoots, first!)
}

function mergeRoots(base: Value, over: Value): Value {
  if (!base.isMap || !over.isMap) {
    for (const root of [base, over]) {
      if (!root.isMap) root.problem('Top-level object must be a mapping')
    }
    return base
  }
  const [older, newer] = [base.get('version'), over.get('version')]
  if (!older.isMissing && !newer.isMissing && older.text() !== newer.text()) {
    newer.problem(
      `version mismatched between two composefiles : ${older.text()} and ${newer.text()}`,
    )
  }
  const named: Merge = (a, b) => byKey(a, b, {}, replace)
  return byKey(base, over, {
    services: (a, b) => byKey(a, b, {}, mergeServices),
    ...{ networks: named, volumes: named, secrets: named, configs: named },
  })
}

const mergeServices: Merge = (base, over) => byKey(base, over, SERVICE)

/** Merges two mappings; `otherwise` is for keys without a way of their own. */
function byKey(
  base: Value,
  over: Value,
  ways: Readonly<Record<string, Merge>>,
  otherwise: Merge = mergeAny,
): Value {
  if (over.isMissing) return base
  if (base.isMissing) return over
  if (!base.isMap || !over.isMap) return over
  const merged = new Map(base.entries())
  for (const [key, value] of over.entries()) {
    const before = merged.get(key)
    if (before === undefined || before.isMissing) merged.set(key, value)
    else if (!value.isMissing) merged.set(key, (ways[key] ?? otherwise)(before, value))
  }
  return base.mapping(merged)
}

const mergeAny: Merge = (base, over) => {
  if (base.isMap && over.isMap) return byKey(base, over, {})
  if (base.isList && over.isList) return base.sequence([...base.list(), ...over.list()])
  return over
}

const replace: Merge = (_, over) => over

/** Mappings that may be written as lists. */
const pairs =
  (separator: string): Merge =>
  (base, over) =>
    base.mapping(new Map([...base.keyed(separator), ...over.keyed(separator)]))

/** One text, or a list of them. */
const joined: Merge = (base, over) => {
  const items = (value: Value): Value[] => (value.isList ? value.list() : [value])
  return base.sequence([...items(base), ...items(over)])
}

/** Lists in which the later item with a key takes the place of the earlier. */
const unique =
  (keyOf: (item: Value) => string | undefined): Merge =>
  (base, over) => {
    const items = new Map<unknown, Value>()
    for (const item of [...base.list(), ...over.list()]) items.set(keyOf(item) ?? item, item)
    return base.sequence([...items.values()])
  }

function portKey(item: Value): string | undefined {
  if (item.isMap) {
    const [published, protocol] = [item.get('published'), item.get('protocol')]
    return published.isMissing ? undefined : `${published.text()}/${protocol.text('tcp')}`
  }
  const found = shortPorts(item.text())
  if (typeof found === 'string' || found.length !== 1) return undefined
  const { PublishedPort, Protocol } = found[0]!
  return PublishedPort === undefined ? undefined : `${PublishedPort}/${Protocol}`
}

function volumeKey(item: Value): string {
  if (item.isMap) return item.get('target').text()
  const [first, second] = item.text().split(':')
  return second ?? first!
}

const sourceKey = (item: Value): string => (item.isMap ? item.get('source').text() : item.text())

/** Networks of a service are names, or a mapping from names to options. */
const networks: Merge = (base, over) => {
  if (base.isMap && over.isMap) return byKey(base, over, {}, (a, b) => byKey(a, b, {}, replace))
  return pairs('\0')(base, over)
}

const logging: Merge = (base, over) => {
  const driver = over.get('driver')
  const isOther = !driver.isMissing && driver.text() !== base.get('driver').text()
  return isOther ? over : mergeAny(base, over)
}

const labels = pairs('=')

const SERVICE: Readonly<Record<string, Merge>> = {
  command: replace,
  configs: unique(sourceKey),
  deploy: (base, over) => byKey(base, over, { labels }),
  dns: joined,
  dns_search: joined,
  entrypoint: replace,
  env_file: joined,
  environment: pairs('='),
  healthcheck: (base, over) => byKey(base, over, { test: replace }),
  labels,
  logging,
  networks,
  ports: unique(portKey),
  secrets: unique(sourceKey),
  sysctls: pairs('='),
  tmpfs: joined,
  ulimits: (base, over) => byKey(base, over, {}, replace),
  volumes: unique(volumeKey),
}
