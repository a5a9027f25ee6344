// wireguard-go, the distribution's and the newest: encrypted (ChaCha20-Poly1305), layer 3, MTU
// 1420.

import { writeFileSync } from 'node:fs'
import type { Host } from '../../cli/lab/host.ts'
import { newKeyPair } from '../../cli/lab/topology.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { newest } from './newest.ts'
import type { Peer } from './pair.ts'
import { command, twoHosts, untilReachable } from './pair.ts'

const PORT = 51820

interface End {
  readonly host: Host
  /** Device name: unique in the lab, for the daemon's control socket carries it. */
  readonly device: string
  readonly address: string
  readonly keys: { readonly privateKey: string; readonly publicKey: string }
}

async function start(folder: string, binary: string, end: End, other: End): Promise<void> {
  const daemon = end.host.spawn([binary, '-f', end.device], { env: { LOG_LEVEL: 'error' } })
  await waitFor(
    async () => {
      if (!daemon.running) throw new Error(daemon.stderr.trim().split('\n').at(-1))
      return (await end.host.exec(['wg', 'show', end.device])).status === 0
    },
    { what: `${binary} to open ${end.device}` },
  )
  const config = [
    '[Interface]',
    `PrivateKey = ${end.keys.privateKey}`,
    `ListenPort = ${PORT}`,
    '[Peer]',
    `PublicKey = ${other.keys.publicKey}`,
    'AllowedIPs = 10.91.0.0/24',
    `Endpoint = ${other.host.address}:${PORT}`,
  ]
  const file = `${folder}/${end.device}.conf`
  writeFileSync(file, `${config.join('\n')}\n`, { mode: 0o600 })
  await end.host.must(['wg', 'setconf', end.device, file])
  const { device, address } = end
  await end.host.ip([`addr add ${address}/24 dev ${device}`, `link set ${device} mtu 1420 up`])
}

function wireguard(name: string, prefix: string, find: () => string): Peer {
  return {
    name,
    async setup(lab) {
      const binary = find()
      command('wg')
      const [client, server] = await twoHosts(lab, prefix)
      const end = (host: Host, address: string): End => ({
        ...{ host, address, device: host.name },
        keys: newKeyPair(),
      })
      const ends = [end(client, '10.91.0.1'), end(server, '10.91.0.2')] as const
      await start(lab.folder, binary, ends[0], ends[1])
      await start(lab.folder, binary, ends[1], ends[0])
      return untilReachable({ client, server, address: '10.91.0.2' })
    },
  }
}

export const wireguardGo: Peer = wireguard('wireguard-go', 'wg', () => command('wireguard-go'))

export const wireguardGoNewest: Peer = wireguard('wireguard-go newest', 'wn', () => {
  const path = newest('wireguard')
  if (!path) throw new Error('the newest wireguard-go was not built (is Go installed?)')
  return path
})
