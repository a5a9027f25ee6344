// `weft swarm ca`: the root certificate that the swarm trusts, and its change, followed node by
// node until every one has a certificate under the new root.

import { setTimeout as pause } from 'node:timers/promises'
import type { CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { type CommandOption, flag, text } from './options.ts'
import { type SwarmAnswer, swarm, swarmSettings, textFile, updateSwarm } from './swarm-settings.ts'

const LOOK_MS = 200

export function swarmCaOptions(
  settings: Readonly<Record<string, CommandOption>>,
): Readonly<Record<string, CommandOption>> {
  return {
    rotate: flag('Change the root: to a new one, or to the one given'),
    'ca-cert': text('FILE', 'The new root certificate (PEM)'),
    'ca-key': text('FILE', 'Its key (PEM); without it an external CA must sign'),
    'cert-expiry': settings['cert-expiry']!,
    'external-ca': settings['external-ca']!,
    detach: flag('Do not wait until every node has followed', 'd'),
    quiet: flag('Do not show the progress', 'q'),
  }
}

export async function rotateCa(call: CommandCall): Promise<number> {
  const before = await swarm(call.api)
  if (!call.flag('rotate')) {
    for (const name of ['ca-cert', 'ca-key', 'cert-expiry', 'external-ca']) {
      if (call.isGiven(name)) {
        throw new CommandError(`\`--${name}\` flag requires the \`--rotate\` flag to update the CA`)
      }
    }
    if (!before.TLSInfo?.TrustRoot) throw new CommandError('No CA information available')
    call.terminal.out(before.TLSInfo.TrustRoot)
    return 0
  }
  const spec = swarmSettings(call, before.Spec)
  const certificate = call.text('ca-cert')
  const key = call.text('ca-key')
  const { SigningCACert: _cert, SigningCAKey: _key, ...CAConfig } = spec.CAConfig
  await updateSwarm(call.api, before, {
    ...spec,
    CAConfig: {
      ...CAConfig,
      ...(certificate === undefined
        ? { ForceRotate: (before.Spec.CAConfig.ForceRotate ?? 0) + 1 }
        : { SigningCACert: textFile(certificate) }),
      ...(key === undefined ? {} : { SigningCAKey: textFile(key) }),
    },
  })
  if (call.flag('detach')) return 0
  const after = await untilRotated(call)
  call.terminal.out(after.TLSInfo.TrustRoot)
  return 0
}

interface NodeAnswer {
  readonly Description?: { readonly TLSInfo?: Partial<SwarmAnswer['TLSInfo']> }
}

async function untilRotated(call: CommandCall): Promise<SwarmAnswer> {
  let last = ''
  for (;;) {
    const now = await swarm(call.api)
    const nodes = await call.api.ask<NodeAnswer[]>('GET', '/nodes')
    const wanted = now.TLSInfo
    const count = (field: 'TrustRoot' | 'CertIssuerPublicKey'): number =>
      nodes.filter(({ Description }) => Description?.TLSInfo?.[field] === wanted[field]).length
    const words =
      `rotated TLS certificates: ${count('CertIssuerPublicKey')}/${nodes.length} nodes, ` +
      `rotated CA certificates: ${count('TrustRoot')}/${nodes.length} nodes`
    if (words !== last && !call.flag('quiet')) call.terminal.err(`${words}\n`)
    last = words
    const isDone = !now.RootRotationInProgress && count('TrustRoot') === nodes.length
    if (isDone) return now
    await pause(LOOK_MS)
  }
}
