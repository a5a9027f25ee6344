// `weft stack`: stacks of services by compose files, as `docker stack` has them.

import { verbOf } from './client/command.ts'
import { STACK_COMMANDS } from './client/stack-commands.ts'
import type { Verb } from './verb.ts'

export const verb: Verb = verbOf(
  'stack',
  'Deploys compose files, shows and removes stacks. Needs a manager.',
  STACK_COMMANDS,
)
