// `weft network`: the networks of the swarm, as `docker network` has them.

import { verbOf } from './client/command.ts'
import { NETWORK_COMMANDS } from './client/network-commands.ts'
import type { Verb } from './verb.ts'

export const verb: Verb = verbOf(
  'network',
  'Creates, shows and removes networks. Needs a manager.',
  NETWORK_COMMANDS,
)
