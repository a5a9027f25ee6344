// `weft swarm`: what `docker swarm` does.

import { verbOf } from './client/command.ts'
import { SWARM_COMMANDS } from './client/swarm-commands.ts'
import type { Verb } from './verb.ts'

export const verb: Verb = verbOf(
  'swarm',
  'Founds, joins and leaves swarms, and changes their settings.',
  SWARM_COMMANDS,
)
