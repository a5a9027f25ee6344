// The columns of a row of statistics.

export const CONNECTIONS = 0
export const IN_PACKETS = 1
export const OUT_PACKETS = 2
export const IN_BYTES = 3
export const OUT_BYTES = 4
/** Gauges: connections now. */
export const ACTIVE_CONNECTIONS = 5
export const INACTIVE_CONNECTIONS = 6
/** Gauge: persistence templates now. */
export const PERSISTENT_CONNECTIONS = 7
export const STATISTICS_COLUMNS = 8
