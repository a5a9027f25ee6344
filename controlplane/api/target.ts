// The first line of a request, taken apart: the API version that its path begins with, the path
// behind it, and the query.

import { badRequest } from './errors.ts'
import { API_MINOR_MAX, API_MINOR_MIN } from './limits.ts'

export interface Target {
  readonly path: string
  readonly query: URLSearchParams
  readonly minor: number
  /** As given: "/v1.41", or ''. */
  readonly prefix: string
}

/** Takes the version off a path. Throws 400 for versions that are not served. */
export function parseTarget(target: string): Target {
  const at = target.indexOf('?')
  const whole = at < 0 ? target : target.slice(0, at)
  const query = new URLSearchParams(at < 0 ? '' : target.slice(at + 1))
  const match = /^\/v(\d{1,4})\.(\d{1,4})(?=\/|$)/.exec(whole)
  if (match === null) return { path: whole, query, minor: API_MINOR_MAX, prefix: '' }
  const version = `${Number(match[1])}.${Number(match[2])}`
  const minor = Number(match[1]) === 1 ? Number(match[2]) : Number(match[1]) > 1 ? 9999 : 0
  if (minor > API_MINOR_MAX) {
    throw badRequest(
      `client version ${version} is too new. Maximum supported API version is 1.${API_MINOR_MAX}`,
    )
  }
  if (minor < API_MINOR_MIN) {
    throw badRequest(
      `client version ${version} is too old. Minimum supported API version is ` +
        `1.${API_MINOR_MIN}, please upgrade your client to a newer version`,
    )
  }
  return { path: whole.slice(match[0].length), query, minor, prefix: match[0] }
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes
}
