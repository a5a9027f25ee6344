// Open vSwitch's userspace datapath with a vxlan tunnel, not encrypted. One ovsdb-server and one
// ovs-vswitchd per host, started by hand with a run folder of their own; br-phy holds the underlay
// port and address, br-int the tunnel and the inner address.

import { existsSync, mkdirSync } from 'node:fs'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { must } from '../../cli/lab/process.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { Peer } from './pair.ts'
import { command, twoHosts, untilReachable } from './pair.ts'

const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'

async function start(lab: Lab, host: Host, remote: string, inside: string): Promise<void> {
  const folder = `${lab.folder}/ovs-${host.name}`
  mkdirSync(folder)
  const env = { OVS_RUNDIR: folder, OVS_LOGDIR: folder, OVS_DBDIR: folder }
  const socket = `unix:${folder}/db.sock`
  const options = { env, cwd: folder }
  await must([command('ovsdb-tool'), 'create', `${folder}/conf.db`, SCHEMA], options)
  const quiet = ['-vconsole:off', '-vfile:off', '-vsyslog:off']
  host.spawn(
    [command('ovsdb-server'), `${folder}/conf.db`, `--remote=p${socket}`, ...quiet],
    options,
  )
  await waitFor(() => existsSync(`${folder}/db.sock`), { what: 'ovsdb-server to listen' })
  const vsctl = (...args: string[]): Promise<string> =>
    host.must([command('ovs-vsctl'), `--db=${socket}`, '--timeout=10', ...args], options)
  await vsctl('--no-wait', 'init')
  host.spawn([command('ovs-vswitchd'), socket, ...quiet], options)
  const own = host.address
  // Frames that come up through a packet socket must carry whole checksums.
  await host.exec(['ethtool', '-K', 'eth0', 'tx', 'off'])
  const userspace = 'datapath_type=netdev'
  const bridge = (name: string): string[] => [
    'add-br',
    name,
    '--',
    'set',
    'bridge',
    name,
    userspace,
  ]
  await vsctl(...bridge('br-phy'), '--', 'add-port', 'br-phy', 'eth0')
  await host.ip(['addr flush dev eth0', `addr add ${own}/24 dev br-phy`, 'link set br-phy up'])
  await vsctl(
    ...bridge('br-int'),
    ...['--', 'add-port', 'br-int', 'vx0', '--', 'set', 'interface', 'vx0', 'type=vxlan'],
    ...[`options:remote_ip=${remote}`, 'options:key=43'],
  )
  await host.ip([`addr add ${inside}/24 dev br-int`, 'link set br-int mtu 1450 up'])
}

export const openvswitchUserspace: Peer = {
  name: 'OVS userspace',
  async setup(lab) {
    for (const name of ['ovs-vswitchd', 'ovsdb-server', 'ovs-vsctl', 'ethtool']) command(name)
    const [client, server] = await twoHosts(lab, 'ov')
    await start(lab, client, server.address, '10.93.0.1')
    await start(lab, server, client.address, '10.93.0.2')
    return untilReachable({ client, server, address: '10.93.0.2' })
  },
}
