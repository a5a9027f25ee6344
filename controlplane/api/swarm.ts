// /swarm: making, joining and leaving the cluster, which are this node's business, and the
// cluster's own settings and secrets.

import type { Store } from '../store/contract.ts'
import { newId } from '../store/ids.ts'
import type { ClusterObject } from '../store/objects.ts'
import type { Call, Environment, Reply } from './call.ts'
import { inTime, requireManager } from './cluster-access.ts'
import { swarmJson } from './cluster-info.ts'
import { ApiError, badRequest, NOT_MANAGER } from './errors.ts'
import type { NodeControl } from './node-control.ts'
import { boolValue, versionValue } from './query.ts'
import { managerCounts } from './quorum.ts'
import { here, type Route, read, write } from './route.ts'
import { checkInit, checkJoin, type GivenInit, type GivenJoin } from './swarm-init.ts'
import { completeSwarmSpec, type GivenSwarmSpec } from './swarm-spec.ts'
import { INIT_REQUEST, JOIN_REQUEST, SWARM_SPEC, UNLOCK_REQUEST } from './types-swarm.ts'

const UNLOCK_KEY_BYTES = 32
const JOIN_TIMEOUT_MS = 20_000
const IN_SWARM =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join ' +
  'another one.'
const NO_SWARM = 'This node is not part of a swarm'
const JOIN_TIMED_OUT =
  'Timeout was reached before node joined. The attempt to join the swarm will continue in the ' +
  'background. Use the "docker info" command to see the current swarm status of your node.'

const ok: Reply = { status: 200 }

async function init(call: Call, { node, events }: Environment): Promise<Reply> {
  const given = await call.json<GivenInit>(INIT_REQUEST)
  const { state, isManager } = node.status()
  if (state !== 'inactive') {
    if (!given.ForceNewCluster) throw new ApiError(503, IN_SWARM)
    if (!isManager) throw new ApiError(503, NOT_MANAGER.worker)
  }
  const id = await node.init(checkInit(given))
  events.follow(node.cluster()?.store ?? null)
  return { status: 200, json: id }
}

async function join(call: Call, { node }: Environment): Promise<Reply> {
  const given = await call.json<GivenJoin>(JOIN_REQUEST)
  if (node.status().state !== 'inactive') throw new ApiError(503, IN_SWARM)
  const work = node.join(checkJoin(given))
  // Who is told that it takes long is not told again when it fails later.
  work.catch(() => {})
  try {
    await inTime(work, JOIN_TIMEOUT_MS)
  } catch (error) {
    const isLate = error instanceof ApiError && error.message.includes('DeadlineExceeded')
    throw isLate ? new ApiError(503, JOIN_TIMED_OUT) : error
  }
  return ok
}

async function leave(call: Call, { node }: Environment): Promise<Reply> {
  const force = boolValue(call.query, 'force')
  const { state, isManager } = node.status()
  if (state === 'inactive') throw new ApiError(503, NO_SWARM)
  if (!force && state === 'locked') {
    throw new ApiError(
      503,
      'Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this ' +
        'message.',
    )
  }
  if (!force && isManager) throw new ApiError(503, leaveWarning(node))
  await node.leave(force)
  return ok
}

/** Why a manager does not leave without force. */
function leaveWarning(node: NodeControl): string {
  let words = 'You are attempting to leave the swarm on a node that is participating as a manager. '
  const access = node.cluster()
  if (access === null) words += 'Doing so may lose the consensus of your cluster. '
  else {
    const { reachable, unreachable } = access.store.view((tx) => managerCounts(tx))
    if (reachable <= 1 && unreachable === 0) {
      return (
        `${words}Removing the last manager erases all current state of the swarm. ` +
        'Use `--force` to ignore this message. '
      )
    }
    if (reachable - 2 <= unreachable) {
      words +=
        `Removing this node leaves ${reachable - 1} managers out of ${reachable + unreachable}. ` +
        'Without a Raft quorum your swarm will be inaccessible. '
    }
  }
  return (
    `${words}The only way to restore a swarm that has lost consensus is to reinitialize it with ` +
    '`--force-new-cluster`. Use `--force` to suppress this message.'
  )
}

function inspect(_: Call, __: Environment, store: Store): Reply {
  return { status: 200, json: store.view((tx) => swarmJson(tx.cluster()!)) }
}

async function update(call: Call, env: Environment, store: Store): Promise<Reply> {
  const given = await call.json<GivenSwarmSpec>(SWARM_SPEC)
  const version = versionValue(
    call.query,
    (reason) => `invalid swarm version '${call.query.get('version') ?? ''}': ${reason}`,
  )
  const rotations = {
    worker: rotates(call.query, 'rotateWorkerToken'),
    manager: rotates(call.query, 'rotateManagerToken'),
    unlockKey: rotates(call.query, 'rotateManagerUnlockKey'),
  }
  const spec = completeSwarmSpec(given)
  const { rootCa } = store.view((tx) => tx.cluster()!)
  const nextRoot = await env.services.planRoot(rootCa, spec.CAConfig)
  // The signing key has moved into the root's state: it is kept in one place.
  const { SigningCACert: _cert, SigningCAKey: _key, ...CAConfig } = spec.CAConfig
  await inTime(
    store.update((tx) => {
      const cluster = tx.cluster()!
      tx.update('clusters', {
        ...cluster,
        meta: { ...cluster.meta, version },
        spec: { ...spec, CAConfig },
        rootCa: nextRoot,
        joinTokens: {
          worker: nextToken(cluster.joinTokens.worker, rotations.worker, env.node),
          manager: nextToken(cluster.joinTokens.manager, rotations.manager, env.node),
        },
        unlockKey: nextUnlockKey(cluster.unlockKey, spec, rotations.unlockKey, env.node),
      })
    }),
  )
  return ok
}

/** Unlike other switches of the API, these are Go's strconv.ParseBool. */
function rotates(query: URLSearchParams, name: string): boolean {
  const text = query.get(name) ?? ''
  if (['', '0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true
  throw badRequest(`invalid value for ${name}: ${text}`)
}

/** The digest of the root stays, the secret changes. */
function nextToken(current: string, rotate: boolean, node: NodeControl): string {
  if (!rotate) return current
  const secret = newId((size) => node.random(size))
  return `${current.slice(0, current.lastIndexOf('-'))}-${secret}`
}

function nextUnlockKey(
  current: ClusterObject['unlockKey'],
  { EncryptionConfig: { AutoLockManagers: isOn } }: ClusterObject['spec'],
  rotate: boolean,
  node: NodeControl,
): ClusterObject['unlockKey'] {
  const wasOn = current.key !== null
  if (isOn === wasOn && !(isOn && rotate)) return current
  const key = isOn ? Buffer.from(node.random(UNLOCK_KEY_BYTES)).toString('base64') : null
  return { key, version: current.version + 1 }
}

function unlockKey(_: Call, __: Environment, store: Store): Reply {
  const { key } = store.view((tx) => tx.cluster()!.unlockKey)
  const shown = key === null ? '' : `SWMKEY-1-${key.replace(/=+$/, '')}`
  return { status: 200, json: { UnlockKey: shown } }
}

async function unlock(call: Call, { node }: Environment): Promise<Reply> {
  const { UnlockKey: key } = await call.json<{ readonly UnlockKey: string }>(UNLOCK_REQUEST)
  const { state } = node.status()
  if (state !== 'locked') {
    requireManager(node)
    throw new ApiError(409, 'swarm is not locked')
  }
  if (!/^SWMKEY-1-[A-Za-z0-9+/]{43}$/.test(key)) throw badRequest('invalid key string')
  await node.unlock(key)
  return ok
}

export const SWARM_ROUTES: readonly Route[] = [
  here('POST', '/swarm/init', init),
  here('POST', '/swarm/join', join),
  here('POST', '/swarm/leave', leave),
  here('POST', '/swarm/unlock', unlock),
  read('/swarm', inspect),
  read('/swarm/unlockkey', unlockKey),
  write('POST', '/swarm/update', update),
]
