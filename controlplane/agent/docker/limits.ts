// Every limit of the Docker executor and the network driver.

/** How long the engine may wait in Join for the packet loop to make an interface. */
export const DEVICE_TIMEOUT_MS = 20_000
/** A request of the engine to the driver. */
export const PLUGIN_BODY_BYTES_MAX: number = 1024 * 1024
/** Pause before the engine's events are asked for again. */
export const EVENTS_RETRY_MS = 500
/** One event of the engine. */
export const EVENT_BYTES_MAX: number = 1024 * 1024
/** How long an attachment's addresses may take, and its container may be away. */
export const ATTACH_TIMEOUT_MS = 20_000
/** A network that was made known to the engine waits so long for its first container. */
export const ENSURED_MS = 60_000
/** How often a container is looked at although no event told of it. */
export const LOOK_MS = 5000
/** Docker's default stop grace period. */
export const STOP_GRACE_MS = 10_000
/** Beyond the grace period, for the engine's own work. */
export const STOP_MARGIN_MS = 30_000
/** A line of a log longer than this is passed on in pieces. */
export const LOG_LINE_BYTES_MAX: number = 256 * 1024
/** A frame of the engine's log stream: it never makes longer ones. */
export const LOG_FRAME_BYTES_MAX: number = 16 * 1024 * 1024
/** Containers that are looked at side by side when an agent takes them over. */
export const ADOPT_AT_ONCE = 8
/** Characters of the error text of a pull or a health probe. */
export const TEXT_MAX = 256
