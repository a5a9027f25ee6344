// `weft secret`: secrets, files that only tasks see, as `docker secret` has them.

import { verbOf } from './client/command.ts'
import { SECRET_COMMANDS } from './client/file-commands.ts'
import type { Verb } from './verb.ts'

export const verb: Verb = verbOf(
  'secret',
  'Creates, shows and removes secrets. Needs a manager.',
  SECRET_COMMANDS,
)
