// `weft config`: configs, files for tasks, as `docker config` has them.

import { verbOf } from './client/command.ts'
import { CONFIG_COMMANDS } from './client/file-commands.ts'
import type { Verb } from './verb.ts'

export const verb: Verb = verbOf(
  'config',
  'Creates, shows and removes configs. Needs a manager.',
  CONFIG_COMMANDS,
)
