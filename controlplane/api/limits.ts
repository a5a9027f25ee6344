// Limits of the Engine API.

// Specification: the Docker Engine's figures.

/** Newest API version served (docker 28.2.2). */
export const API_MINOR_MAX: number = 50
/** Oldest: what the Docker Engine 28.2.2 takes. Versions below 1.41 are served as 1.41. */
export const API_MINOR_MIN: number = 24
/** A request to the cluster (moby, daemon/cluster/cluster.go). */
export const CLUSTER_REQUEST_TIMEOUT_MS: number = 20_000
/** Secrets (swarmkit, api/validation/secrets.go): 0 < size < this. */
export const SECRET_BYTES_MAX: number = 500 * 1024
/** Configs (swarmkit, manager/controlapi/config.go): 0 < size < this. */
export const CONFIG_BYTES_MAX: number = 1000 * 1024
/** Nesting of JSON, as Go's encoding/json has it. Ours is lower: it bounds recursion. */
export const JSON_DEPTH_MAX: number = 500

// Implementation: ours to change.

/** A JSON body for the cluster. The largest is a config: base64 in JSON, and the store takes
 * 1.5 MiB. Bodies for the local engine are streamed, whatever their size. */
export const BODY_BYTES_MAX: number = 4 * 1024 * 1024
/** Request line and headers: X-Registry-Auth holds tokens. */
export const HEADER_BYTES_MAX: number = 64 * 1024
export const HEADERS_TIMEOUT_MS: number = 30_000
/** Connections per listener: each costs a few tens of KiB. */
export const CONNECTIONS_MAX: number = 4_096
/** Events kept for `since`; about 500 bytes each. The Docker Engine keeps 256. */
export const EVENTS_KEPT: number = 1_024
/** Events a slow reader may be behind before its stream is ended. */
export const EVENTS_QUEUED_MAX: number = 4_096
/** How long an answer of the local engine to a question of ours may take. */
export const ENGINE_TIMEOUT_MS: number = 20_000
/** A body for the local engine up to this size is sent in one piece. */
export const ENGINE_BODY_AT_ONCE_MAX: number = 1024 * 1024
/** What we read of one: lists of networks, its info. */
export const ENGINE_ANSWER_BYTES_MAX: number = 32 * 1024 * 1024
/** For how long the engine's API version is believed. */
export const ENGINE_VERSION_KEPT_MS: number = 10_000
/** Tasks that one service may want, and completions of a job: each is a task. Docker sets no limit;
 * 30,000 tasks are what a leader was measured with, and a typing mistake must not make it write
 * until its memory is full. */
export const SERVICE_TASKS_MAX: number = 100_000
