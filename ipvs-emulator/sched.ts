// The schedulers by name. A scheduler chooses the real server of a new connection; each is a struct of
// functions (Scheduler in service.ts) in a file of its own.
//
// Rules common to all (ip_vs_sched.c and the schedulers themselves): a server of weight 0 or over its
// threshold is not chosen; comparisons of load are cross-multiplied and strict, so among equals the
// first in the list wins; null means that no server is available.

import { LC } from './sched-lc.ts'
import { RR } from './sched-rr.ts'
import { WLC } from './sched-wlc.ts'
import { WRR } from './sched-wrr.ts'
import type { Scheduler } from './service.ts'

export const SCHEDULERS: ReadonlyMap<string, Scheduler> = new Map(
  [RR, WRR, LC, WLC].map((scheduler) => [scheduler.name, scheduler]),
)

export const SCHEDULER_DEFAULT = 'rr'
