// `weft service`: the services of the swarm, as `docker service` shows and changes them.

import { verbOf } from './client/command.ts'
import { SERVICE_COMMANDS } from './client/service-commands.ts'
import type { Verb } from './verb.ts'

export const verb: Verb = verbOf(
  'service',
  'Creates, changes and shows services. Needs a manager.',
  SERVICE_COMMANDS,
)
