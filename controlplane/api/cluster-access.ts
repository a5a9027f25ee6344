// Where the cluster can be read and written: on this node, on the leader, or not at all, and with
// which words.

import type { Store } from '../store/contract.ts'
import type { Call, Environment, Reply } from './call.ts'
import { ApiError, NOT_MANAGER, noLeader, rpcError } from './errors.ts'
import { CLUSTER_REQUEST_TIMEOUT_MS } from './limits.ts'
import type { ApiRequest, ApiResponse, ClusterAccess, NodeControl } from './node-control.ts'

/** Throws the 503 that says why this node cannot serve the cluster. */
export function requireManager(node: NodeControl): ClusterAccess {
  const { state, isManager, error } = node.status()
  if (state === 'locked') throw new ApiError(503, NOT_MANAGER.locked)
  if (state === 'inactive') throw new ApiError(503, NOT_MANAGER.inactive)
  if (state === 'error' && error !== '') throw new ApiError(503, error)
  if (!isManager) {
    throw new ApiError(503, state === 'active' ? NOT_MANAGER.worker : NOT_MANAGER.preparing)
  }
  const access = node.cluster()
  if (access === null) throw new ApiError(503, NOT_MANAGER.preparing)
  return access
}

/** The store of this manager, once it is as fresh as the cluster. */
export async function clusterStore({ node }: Environment): Promise<Store> {
  const { store } = requireManager(node)
  await inTime(node.readBarrier())
  if (store.view((tx) => tx.cluster()) === undefined) {
    throw new ApiError(503, NOT_MANAGER.preparing)
  }
  return store
}

/** Runs `handle` here on the leader, otherwise there: by sending the call on, or `instead` of it
 * another request. */
export async function onLeader(
  call: Call,
  env: Environment,
  handle: (store: Store) => Reply | Promise<Reply | ApiResponse>,
  instead: ApiRequest | null = null,
): Promise<Reply | ApiResponse> {
  const { isLeader } = requireManager(env.node)
  if (isLeader) return handle(await clusterStore(env))
  if (call.isForwarded) throw noLeader()
  return inTime(env.node.forward(instead ?? (await call.again())))
}

/** Rejects as a real manager does when nothing happens. What was asked for may happen later. */
export async function inTime<R>(
  work: Promise<R>,
  timeoutMs: number = CLUSTER_REQUEST_TIMEOUT_MS,
): Promise<R> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const tooLate = rpcError('DeadlineExceeded', 'context deadline exceeded')
    timer = setTimeout(() => reject(tooLate), timeoutMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
