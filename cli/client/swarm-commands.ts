// `weft swarm …`: founding, joining and leaving a swarm, and its settings and secrets.

import type { ApiClient } from './api-client.ts'
import type { Command, CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { type CommandOption, flag, list, text } from './options.ts'
import { info } from './requests.ts'
import { rotateCa, swarmCaOptions } from './swarm-ca.ts'
import { type SwarmAnswer, swarm, swarmSettings, updateSwarm } from './swarm-settings.ts'

const LISTEN_DEFAULT = '0.0.0.0:2377'
const ADVERTISE_HINTS = [
  'could not choose an IP address to advertise',
  "could not find the system's IP address",
]

const ENTRY_OPTIONS: Readonly<Record<string, CommandOption>> = {
  'listen-addr': text('ADDR', `Where a manager listens (default ${LISTEN_DEFAULT})`),
  'advertise-addr': text('ADDR', 'Address or interface under which others reach this node'),
  'data-path-addr': text('ADDR', 'Address or interface of the data plane'),
  availability: text('WHICH', 'active (default), pause or drain'),
}

const SETTING_OPTIONS: Readonly<Record<string, CommandOption>> = {
  autolock: flag('Managers have to be unlocked after a restart'),
  'cert-expiry': text('DURATION', 'How long certificates of nodes are valid (default 2160h)'),
  'dispatcher-heartbeat': text('DURATION', 'How often nodes tell that they live'),
  'external-ca': list('SPEC', 'Who signs certificates: protocol=cfssl,url=URL[,cacert=FILE]'),
  'max-snapshots': text('COUNT', 'Old Raft snapshots that are kept'),
  'snapshot-interval': text('COUNT', 'Log entries between Raft snapshots'),
  'task-history-limit': text('COUNT', 'Tasks that are remembered per slot'),
}

async function init(call: CommandCall): Promise<number> {
  const body = {
    ...entry(call),
    DataPathPort: whole(call, 'data-path-port') ?? 0,
    ForceNewCluster: call.flag('force-new-cluster'),
    Spec: swarmSettings(call, null),
    AutoLockManagers: call.flag('autolock'),
    DefaultAddrPool: call.list('default-addr-pool'),
    SubnetSize: whole(call, 'default-addr-pool-mask-length') ?? 24,
  }
  let id: string
  try {
    id = await call.api.ask<string>('POST', '/swarm/init', body)
  } catch (error) {
    const { message } = error as Error
    const isHinted = ADVERTISE_HINTS.some((words) => message.includes(words))
    throw isHinted ? new CommandError(`${message} - specify one with --advertise-addr`) : error
  }
  call.print(`Swarm initialized: current node (${id}) is now a manager.\n`)
  await printJoin(call, 'worker')
  call.print(
    "To add a manager to this swarm, run 'weft swarm join-token manager' and follow the " +
      'instructions.\n',
  )
  if (call.flag('autolock')) await printUnlock(call)
  return 0
}

async function join(call: CommandCall): Promise<number> {
  const [remote] = call.operands as [string]
  const token = call.text('token') ?? ''
  await call.api.ask('POST', '/swarm/join', {
    ...entry(call),
    RemoteAddrs: [remote],
    JoinToken: token,
  })
  const { ControlAvailable } = (await info(call.api)).Swarm
  call.print(`This node joined a swarm as a ${ControlAvailable ? 'manager' : 'worker'}.`)
  return 0
}

function entry(call: CommandCall): object {
  return {
    ListenAddr: call.text('listen-addr') ?? LISTEN_DEFAULT,
    AdvertiseAddr: call.text('advertise-addr') ?? '',
    DataPathAddr: call.text('data-path-addr') ?? '',
    Availability: call.text('availability') ?? '',
  }
}

function whole(call: CommandCall, name: string): number | undefined {
  const given = call.text(name)
  if (given === undefined) return undefined
  if (!/^\d{1,9}$/.test(given)) {
    throw new CommandError(`invalid argument "${given}" for "--${name}": not a whole number`)
  }
  return Number(given)
}

async function leave(call: CommandCall): Promise<number> {
  await call.api.ask('POST', `/swarm/leave${call.flag('force') ? '?force=1' : ''}`)
  call.print('Node left the swarm.')
  return 0
}

async function update(call: CommandCall): Promise<number> {
  const isAny = Object.keys(SETTING_OPTIONS).some((name) => call.isGiven(name))
  if (!isAny) throw new CommandError('nothing to change: see "weft swarm update --help"')
  const before = await swarm(call.api)
  const wasLocked = before.Spec.EncryptionConfig.AutoLockManagers
  const spec = swarmSettings(call, before.Spec)
  const EncryptionConfig = {
    AutoLockManagers: call.isGiven('autolock') ? call.flag('autolock') : wasLocked,
  }
  await updateSwarm(call.api, before, { ...spec, EncryptionConfig })
  call.print('Swarm updated.')
  if (EncryptionConfig.AutoLockManagers && !wasLocked) await printUnlock(call)
  return 0
}

async function joinToken(call: CommandCall): Promise<number> {
  const [role] = call.operands as [string]
  if (role !== 'worker' && role !== 'manager') throw new CommandError(`unknown role ${role}`)
  const isQuiet = call.flag('quiet')
  if (call.flag('rotate')) {
    const before = await swarm(call.api)
    await updateSwarm(call.api, before, before.Spec, {
      rotateWorkerToken: role === 'worker',
      rotateManagerToken: role === 'manager',
    })
    if (!isQuiet) call.print(`Successfully rotated ${role} join token.\n`)
  }
  if (isQuiet) call.print(tokenOf(await swarm(call.api), role))
  else await printJoin(call, role)
  return 0
}

function tokenOf({ JoinTokens }: SwarmAnswer, role: 'worker' | 'manager'): string {
  return role === 'worker' ? JoinTokens.Worker : JoinTokens.Manager
}

async function printJoin(call: CommandCall, role: 'worker' | 'manager'): Promise<void> {
  const { NodeID } = (await info(call.api)).Swarm
  const node = await call.api.ask<{ ManagerStatus?: { Addr: string } }>('GET', `/nodes/${NodeID}`)
  const address = node.ManagerStatus?.Addr
  if (address === undefined) return
  const token = tokenOf(await swarm(call.api), role)
  call.print(`To add a ${role} to this swarm, run the following command:\n`)
  call.print(`    weft swarm join --token ${token} ${address}\n`)
}

async function unlockKeyOf(api: ApiClient): Promise<string> {
  const { UnlockKey } = await api.ask<{ UnlockKey: string }>('GET', '/swarm/unlockkey')
  if (UnlockKey === '') throw new CommandError('no unlock key is set')
  return UnlockKey
}

async function printUnlock(call: CommandCall): Promise<void> {
  const key = await unlockKeyOf(call.api)
  call.print('To unlock a swarm manager after it restarts, run the `weft swarm unlock`')
  call.print(`command and provide the following key:\n\n    ${key}\n`)
  call.print('Remember to store this key in a password manager, since without it you')
  call.print('will not be able to restart the manager.')
}

async function unlockKey(call: CommandCall): Promise<number> {
  const isQuiet = call.flag('quiet')
  if (call.flag('rotate')) {
    const before = await swarm(call.api)
    if (!before.Spec.EncryptionConfig.AutoLockManagers) {
      throw new CommandError('cannot rotate because autolock is not turned on')
    }
    await updateSwarm(call.api, before, before.Spec, { rotateManagerUnlockKey: true })
    if (!isQuiet) call.print('Successfully rotated manager unlock key.\n')
  }
  if (isQuiet) call.print(await unlockKeyOf(call.api))
  else await printUnlock(call)
  return 0
}

async function unlock(call: CommandCall): Promise<number> {
  const { LocalNodeState } = (await info(call.api)).Swarm
  if (LocalNodeState === 'inactive') throw new CommandError('this node is not part of a swarm')
  if (LocalNodeState !== 'locked') throw new CommandError('swarm is not locked')
  const key = await call.terminal.readLine('Enter unlock key: ', true)
  await call.api.ask('POST', '/swarm/unlock', { UnlockKey: key })
  return 0
}

export const SWARM_COMMANDS: readonly Command[] = [
  {
    name: 'init',
    summary: 'Found a swarm',
    operands: '',
    count: [0, 0],
    options: {
      ...ENTRY_OPTIONS,
      ...SETTING_OPTIONS,
      'data-path-port': text('PORT', "UDP port of every node's data plane (default 4789)"),
      'default-addr-pool': list('CIDR', 'Where subnets of networks come from; repeatable'),
      'default-addr-pool-mask-length': text('BITS', 'Prefix length of these subnets (default 24)'),
      'force-new-cluster': flag('Go on alone with what this manager has of its swarm'),
    },
    run: init,
  },
  {
    name: 'join',
    summary: 'Join a swarm',
    operands: 'HOST:PORT',
    count: [1, 1],
    options: { ...ENTRY_OPTIONS, token: text('TOKEN', 'The join token of the swarm') },
    run: join,
  },
  {
    name: 'leave',
    summary: 'Leave the swarm',
    operands: '',
    count: [0, 0],
    options: { force: flag('Also as a manager', 'f') },
    run: leave,
  },
  {
    name: 'update',
    summary: "Change the swarm's settings",
    operands: '',
    count: [0, 0],
    options: SETTING_OPTIONS,
    run: update,
  },
  {
    name: 'join-token',
    summary: 'Show or change the token with which nodes join',
    operands: 'worker|manager',
    count: [1, 1],
    options: { quiet: flag('The token alone', 'q'), rotate: flag('A new token') },
    run: joinToken,
  },
  {
    name: 'unlock',
    summary: 'Unlock a manager after a restart, with a key from standard input',
    operands: '',
    count: [0, 0],
    options: {},
    run: unlock,
  },
  {
    name: 'unlock-key',
    summary: 'Show or change the key that unlocks managers',
    operands: '',
    count: [0, 0],
    options: { quiet: flag('The key alone', 'q'), rotate: flag('A new key') },
    run: unlockKey,
  },
  {
    name: 'ca',
    summary: 'Show or change the root certificate',
    operands: '',
    count: [0, 0],
    options: swarmCaOptions(SETTING_OPTIONS),
    run: rotateCa,
  },
]
