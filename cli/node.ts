// `weft node`: the swarm's nodes, as `docker node` shows and changes them.

import { verbOf } from './client/command.ts'
import { NODE_COMMANDS } from './client/node-commands.ts'
import type { Verb } from './verb.ts'

export const verb: Verb = verbOf(
  'node',
  'Shows and changes the nodes of the swarm. Needs a manager.',
  NODE_COMMANDS,
)
