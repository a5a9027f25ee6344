// The schedulers by name. A scheduler chooses the real server of a new connection; each is a struct
// of functions (Scheduler in service.ts) in a file of its own.
//
// Rules common to all (ip_vs_sched.c and the schedulers themselves): a server of weight 0 or over
// its threshold is not chosen; comparisons of load are cross-multiplied and strict, so among equals
// the first in the list wins; null means that no server is available.

import { DH } from './sched-dh.ts'
import { FO } from './sched-fo.ts'
import { LBLC } from './sched-lblc.ts'
import { LBLCR } from './sched-lblcr.ts'
import { LC } from './sched-lc.ts'
import { MH } from './sched-mh.ts'
import { NQ } from './sched-nq.ts'
import { OVF } from './sched-ovf.ts'
import { RR } from './sched-rr.ts'
import { SED } from './sched-sed.ts'
import { SH } from './sched-sh.ts'
import { TWOS } from './sched-twos.ts'
import { WLC } from './sched-wlc.ts'
import { WRR } from './sched-wrr.ts'
import type { Scheduler } from './service.ts'

const LIST = [RR, WRR, LC, WLC, LBLC, LBLCR, DH, SH, SED, NQ, FO, OVF, MH, TWOS]

/** By ipvsadm's names. */
export const SCHEDULERS: ReadonlyMap<string, Scheduler> = new Map(
  LIST.map((scheduler) => [scheduler.name, scheduler]),
)

export const SCHEDULER_DEFAULT = 'rr'
