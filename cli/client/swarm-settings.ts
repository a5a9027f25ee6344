// The swarm's settings as options of `swarm init` and `swarm update`, and how they are written.

import { readFileSync } from 'node:fs'
import { fileReason } from '../key-file.ts'
import { durationNs } from '../stack/units.ts'
import type { ApiClient } from './api-client.ts'
import type { CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import type { Versioned } from './requests.ts'

export interface SwarmSettings {
  readonly Labels: unknown
  readonly Orchestration: object
  readonly Raft: object
  readonly Dispatcher: object
  readonly CAConfig: { readonly ForceRotate?: number; readonly [field: string]: unknown }
  readonly TaskDefaults: object
  readonly EncryptionConfig: { readonly AutoLockManagers: boolean }
}

export interface SwarmAnswer extends Versioned {
  readonly Spec: SwarmSettings
  readonly JoinTokens: { readonly Worker: string; readonly Manager: string }
  readonly RootRotationInProgress: boolean
  readonly TLSInfo: {
    readonly TrustRoot: string
    readonly CertIssuerSubject: string
    readonly CertIssuerPublicKey: string
  }
}

export function swarm(api: ApiClient): Promise<SwarmAnswer> {
  return api.ask('GET', '/swarm')
}

export async function updateSwarm(
  api: ApiClient,
  { Version }: Versioned,
  spec: object,
  rotate: Readonly<Record<string, boolean>> = {},
): Promise<void> {
  const query = new URLSearchParams({ version: String(Version.Index) })
  for (const [name, isWanted] of Object.entries(rotate)) query.set(name, String(isWanted))
  await api.ask('POST', `/swarm/update?${query}`, spec)
}

/** The settings that were given on top of `current`; null = a swarm that is being founded. */
export function swarmSettings(call: CommandCall, current: SwarmSettings | null): SwarmSettings {
  const base = current ?? {
    Labels: null,
    Orchestration: {},
    Raft: {},
    Dispatcher: {},
    CAConfig: {},
    TaskDefaults: {},
    EncryptionConfig: { AutoLockManagers: call.flag('autolock') },
  }
  const externals = call.list('external-ca').map(externalCa)
  return {
    ...base,
    Orchestration: {
      ...base.Orchestration,
      ...given('TaskHistoryRetentionLimit', number(call, 'task-history-limit')),
    },
    Raft: {
      ...base.Raft,
      ...given('KeepOldSnapshots', number(call, 'max-snapshots')),
      ...given('SnapshotInterval', number(call, 'snapshot-interval')),
    },
    Dispatcher: {
      ...base.Dispatcher,
      ...given('HeartbeatPeriod', duration(call, 'dispatcher-heartbeat')),
    },
    CAConfig: {
      ...base.CAConfig,
      ...given('NodeCertExpiry', duration(call, 'cert-expiry')),
      ...given('ExternalCAs', externals.length === 0 ? undefined : externals),
    },
  }
}

function given(name: string, value: unknown): object {
  return value === undefined ? {} : { [name]: value }
}

function number(call: CommandCall, name: string): number | undefined {
  const text = call.text(name)
  if (text === undefined) return undefined
  if (/^-?\d{1,15}$/.test(text)) return Number(text)
  throw new CommandError(`invalid argument "${text}" for "--${name}": not a whole number`)
}

function duration(call: CommandCall, name: string): number | undefined {
  const text = call.text(name)
  if (text === undefined) return undefined
  const ns = durationNs(text)
  if (ns !== undefined) return ns
  throw new CommandError(`invalid argument "${text}" for "--${name}": time: invalid duration`)
}

/** "protocol=cfssl,url=https://…,cacert=FILE". */
function externalCa(text: string): object {
  const fields = new Map<string, string>()
  for (const part of text.split(',')) {
    const at = part.indexOf('=')
    if (at < 1) throw new CommandError(`invalid field '${part}' must be a key=value pair`)
    fields.set(part.slice(0, at).trim().toLowerCase(), part.slice(at + 1))
  }
  const protocol = fields.get('protocol')
  const url = fields.get('url')
  const cacert = fields.get('cacert')
  if (protocol === undefined)
    throw new CommandError('the external-ca option needs a protocol= parameter')
  if (protocol.toLowerCase() !== 'cfssl') {
    throw new CommandError(`unrecognized external CA protocol ${protocol}`)
  }
  if (url === undefined) throw new CommandError('the external-ca option needs a url= parameter')
  for (const name of ['protocol', 'url', 'cacert']) fields.delete(name)
  return {
    Protocol: 'cfssl',
    URL: url,
    Options: Object.fromEntries(fields),
    ...(cacert === undefined ? {} : { CACert: textFile(cacert) }),
  }
}

/** A PEM file that an option names. */
export function textFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new CommandError(`unable to read ${path}: ${fileReason(error)}`)
  }
}
