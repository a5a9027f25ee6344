// What a change of the services added by hand, and a list of them, look like when they come from
// outside: over the control socket, or from the file of an earlier agent.

import { WEIGHT_MAX } from '../base/limits.ts'
import { PERSISTENCE_SECONDS_MAX, THRESHOLD_MAX } from '../ipvs-emulator/limits.ts'
import { familyOf, parseAddress } from './address.ts'
import { CHANGES_MAX, MANUAL_SERVERS_MAX, MANUAL_SERVICES_MAX } from './limits.ts'
import type { ManualChange, ManualService } from './manual-services.ts'
import { check, flag, integer, list, object, type Problem, required, text } from './shape.ts'

const PORT_MAX = 65_535
const MARK_MAX = 0xffffffff
/** IP_VS_SCHEDNAME_MAXLEN, and the names of the flags. */
const NAME_LENGTH_MAX = 16
const FLAGS_MAX = 4

const oneOf = (...known: readonly string[]): ReturnType<typeof text> =>
  text((value) => (known.includes(value) ? null : `must be one of ${known.join(', ')}`))

const canonical = text((value) =>
  parseAddress(value)?.text === value ? null : 'must be an address in its canonical form',
)
const word = text((value) =>
  /^[a-z0-9-]+$/.test(value) && value.length <= NAME_LENGTH_MAX ? null : 'must be a short word',
)

const key = {
  mark: required(integer(0, MARK_MAX)),
  family: required(integer(4, 6)),
  protocol: required(oneOf('tcp', 'udp', 'sctp')),
  address: required(
    text((value) =>
      value === '' || parseAddress(value)?.text === value ? null : 'must be an address',
    ),
  ),
  port: required(integer(0, PORT_MAX)),
}

const options = {
  scheduler: required(word),
  schedulerFlags: required(list(word, { max: FLAGS_MAX })),
  persistenceSeconds: required(integer(0, PERSISTENCE_SECONDS_MAX)),
  persistencePrefix: required(integer(0, 128)),
  onePacket: required(flag),
}

const server = object({
  address: required(canonical),
  port: required(integer(0, PORT_MAX)),
  method: required(oneOf('masq', 'route', 'tunnel')),
  weight: required(integer(0, WEIGHT_MAX)),
  upperThreshold: required(integer(0, THRESHOLD_MAX)),
  lowerThreshold: required(integer(0, THRESHOLD_MAX)),
})

const CHANGES = {
  'add-service': object({
    verb: required(word),
    service: required(object({ ...key, ...options })),
  }),
  'edit-service': object({
    verb: required(word),
    service: required(object({ ...key, ...options })),
  }),
  'delete-service': object({ verb: required(word), key: required(object(key)) }),
  clear: object({ verb: required(word) }),
  'add-server': object({
    verb: required(word),
    key: required(object(key)),
    server: required(server),
  }),
  'edit-server': object({
    verb: required(word),
    key: required(object(key)),
    server: required(server),
  }),
  'delete-server': object({
    verb: required(word),
    key: required(object(key)),
    address: required(canonical),
    port: required(integer(0, PORT_MAX)),
  }),
} as const

const SERVICES = list(
  object({ ...key, ...options, servers: required(list(server, { max: MANUAL_SERVERS_MAX })) }),
  { max: MANUAL_SERVICES_MAX },
)

/** Reads a list of changes; a text says what is wrong with it. */
export function readChanges(value: unknown): readonly ManualChange[] | string {
  if (!Array.isArray(value) || value.length > CHANGES_MAX) {
    return `changes must be a list of at most ${CHANGES_MAX}`
  }
  for (const [i, change] of value.entries()) {
    const verb: unknown = change?.verb
    if (typeof verb !== 'string' || !Object.hasOwn(CHANGES, verb)) {
      return `changes[${i}].verb is not known`
    }
    const problem = firstProblem((report) =>
      check(change, CHANGES[verb as keyof typeof CHANGES], `changes[${i}]`, report),
    )
    if (problem !== null) return problem
    const wrong = keyProblem((change as { key?: ManualService }).key ?? change.service)
    if (wrong !== null) return `changes[${i}] ${wrong}`
  }
  return value as ManualChange[]
}

/** Reads the services that an earlier agent had; a text says what is wrong with them. */
export function readServices(value: unknown): readonly ManualService[] | string {
  const problem = firstProblem((report) => check(value, SERVICES, 'services', report))
  if (problem !== null) return problem
  for (const [i, service] of (value as ManualService[]).entries()) {
    const wrong = keyProblem(service)
    if (wrong !== null) return `services[${i}] ${wrong}`
  }
  return value as ManualService[]
}

function firstProblem(
  walk: (report: (path: string, message: string) => void) => void,
): string | null {
  const problems: Problem[] = []
  walk((path, message) => {
    if (problems.length === 0) problems.push({ path, message })
  })
  const [first] = problems
  return first === undefined ? null : `${first.path} ${first.message}`
}

/** What a key's parts have to do with one another. */
function keyProblem(service: ManualService | undefined): string | null {
  if (service === undefined) return null
  const { mark, family, address } = service
  if (family !== 4 && family !== 6) return 'has no address family'
  if (mark !== 0) return address === '' ? null : 'has a mark and an address'
  const parsed = parseAddress(address)
  return parsed !== null && familyOf(parsed) === family ? null : 'has no address of its family'
}
