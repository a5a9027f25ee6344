// The table of all paths that are weft's. Everything else belongs to the local engine, but for what
// lies in a folder of the cluster: there an unknown path does not exist.

import { ATTACHMENT_ROUTES } from './attachments.ts'
import { BLOB_ROUTES } from './blobs.ts'
import { badRequest } from './errors.ts'
import { EVENT_ROUTES } from './events.ts'
import { LOG_ROUTES } from './logs.ts'
import { NETWORK_ROUTES } from './networks.ts'
import { NODE_ROUTES } from './nodes.ts'
import type { Route } from './route.ts'
import { SERVICE_ROUTES } from './services.ts'
import { SWARM_ROUTES } from './swarm.ts'
import { SYSTEM_ROUTES } from './system.ts'
import { TASK_ROUTES } from './tasks.ts'

const ROUTES: readonly Route[] = [
  ...SYSTEM_ROUTES,
  ...EVENT_ROUTES,
  ...SWARM_ROUTES,
  ...NODE_ROUTES,
  ...SERVICE_ROUTES,
  ...TASK_ROUTES,
  ...LOG_ROUTES,
  ...NETWORK_ROUTES,
  ...ATTACHMENT_ROUTES,
  ...BLOB_ROUTES,
]

const COMPILED = ROUTES.map((route) => {
  const pattern = route.pattern
    .split('{}')
    .map((part) => RegExp.escape(part))
    .join('([^/]+)')
  return { route, pattern: new RegExp(`^${pattern}$`) }
})

const OUR_FOLDERS = /^\/(?:_ping|swarm|nodes|services|tasks|secrets|configs)(?:\/|$)/

/** HEAD is answered as GET, without the body. */
export function findRoute(
  method: string,
  path: string,
): { readonly route: Route; readonly params: readonly string[] } | null {
  const wanted = method === 'HEAD' ? 'GET' : method
  for (const { route, pattern } of COMPILED) {
    if (route.method !== wanted) continue
    const match = pattern.exec(path)
    if (match !== null) return { route, params: match.slice(1).map(unescapePart) }
  }
  return null
}

export function isOurs(path: string): boolean {
  return OUR_FOLDERS.test(path)
}

function unescapePart(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    throw badRequest(`invalid URL escape in ${JSON.stringify(part)}`)
  }
}
