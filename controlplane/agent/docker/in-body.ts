// The client library puts what is to be created into the query as well as into the body, where an
// engine that is asked to tell more would write a task's environment into its log, and where there
// is less room.

import type Docker from 'dockerode'

/** The same request by its body alone; `query` is what belongs into the query. */
export function inBody<T extends Docker.ContainerCreateOptions | Docker.NetworkCreateOptions>(
  request: T,
  query: Readonly<Record<string, string>> = {},
): T {
  return { _query: query, _body: request } as unknown as T
}
