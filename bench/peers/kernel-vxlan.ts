// The kernel's vxlan, not encrypted: each end a vxlan interface with a fixed remote, MTU 1450.

import type { Host } from '../../cli/lab/host.ts'
import type { Peer } from './pair.ts'
import { twoHosts, untilReachable } from './pair.ts'

async function end(host: Host, remote: Host, address: string): Promise<void> {
  await host.ip([
    `link add vx0 type vxlan id 42 local ${host.address} remote ${remote.address} dstport 4789`,
    `addr add ${address}/24 dev vx0`,
    'link set vx0 up',
  ])
}

export const kernelVxlan: Peer = {
  name: 'kernel vxlan',
  async setup(lab) {
    const [client, server] = await twoHosts(lab, 'vx')
    await end(client, server, '10.90.0.1').catch((error: Error) => {
      throw new Error(`this kernel makes no vxlan interface: ${error.message}`)
    })
    await end(server, client, '10.90.0.2')
    return untilReachable({ client, server, address: '10.90.0.2' })
  },
}
