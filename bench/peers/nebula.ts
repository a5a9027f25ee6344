// nebula, the distribution's and the newest: encrypted (AES-256-GCM), layer 3. Its tunnel's MTU is
// raised from the default of 1300 to what fits a 1500-byte underlay.

import { mkdirSync, writeFileSync } from 'node:fs'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { must } from '../../cli/lab/process.ts'
import { newest } from './newest.ts'
import type { Peer } from './pair.ts'
import { command, twoHosts, untilReachable } from './pair.ts'

const PORT = 4242
const MTU = 1440

interface Binaries {
  readonly daemon: string
  readonly cert: string
}

function config(folder: string, host: Host, other: { address: string; inside: string }): string {
  return `
pki: {ca: ${folder}/ca.crt, cert: ${folder}/${host.name}.crt, key: ${folder}/${host.name}.key}
static_host_map: {"${other.inside}": ["${other.address}:${PORT}"]}
lighthouse: {am_lighthouse: false}
listen: {host: 0.0.0.0, port: ${PORT}}
cipher: aes
tun: {dev: neb0, mtu: ${MTU}}
logging: {level: error}
firewall:
  outbound: [{port: any, proto: any, host: any}]
  inbound: [{port: any, proto: any, host: any}]
`
}

async function certificates(
  lab: Lab,
  binaries: Binaries,
  hosts: [Host, string][],
): Promise<string> {
  const folder = `${lab.folder}/nebula-${hosts[0]![0].name}`
  mkdirSync(folder)
  await must([binaries.cert, 'ca', '-name', 'bench'], { cwd: folder })
  for (const [host, inside] of hosts) {
    await must([binaries.cert, 'sign', '-name', host.name, '-ip', `${inside}/24`], { cwd: folder })
  }
  return folder
}

function nebulaPeer(name: string, prefix: string, find: () => Binaries): Peer {
  return {
    name,
    async setup(lab) {
      const binaries = find()
      const [client, server] = await twoHosts(lab, prefix)
      const [one, two] = ['10.92.0.1', '10.92.0.2'] as const
      const folder = await certificates(lab, binaries, [
        [client, one],
        [server, two],
      ])
      for (const [host, other, inside] of [
        [client, server, two],
        [server, client, one],
      ] as const) {
        const file = `${folder}/${host.name}.yaml`
        writeFileSync(file, config(folder, host, { address: other.address, inside }))
        host.spawn([binaries.daemon, '-config', file])
      }
      return untilReachable({ client, server, address: two })
    },
  }
}

export const nebula: Peer = nebulaPeer('nebula', 'nb', () => ({
  daemon: command('nebula'),
  cert: command('nebula-cert'),
}))

export const nebulaNewest: Peer = nebulaPeer('nebula newest', 'nn', () => {
  const daemon = newest('nebula')
  const cert = newest('nebula-cert')
  if (!daemon || !cert) throw new Error('the newest nebula was not built (is Go installed?)')
  return { daemon, cert }
})
