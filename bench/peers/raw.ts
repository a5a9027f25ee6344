// The plain veth pair: what the machine can do when nobody is in the way.

import type { Peer } from './pair.ts'
import { twoHosts } from './pair.ts'

export const raw: Peer = {
  name: 'raw veth',
  async setup(lab) {
    const [client, server] = await twoHosts(lab, 'raw')
    return { client, server, address: server.address }
  },
}
