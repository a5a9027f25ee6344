// A test with a lab of its own, which is closed whatever happens.

import t from 'tap'
import { labObstacle } from '../../cli/lab/enter.ts'
import { Lab } from '../../cli/lab/lab.ts'

/** Lab tests are bounded here: the machine may be slow, and a hung one must end before the
 * runner ends it. */
const TIMEOUT_MS = 280_000

/** A test or a subtest. */
export type Test = Parameters<Parameters<typeof t.test>[0]>[0]

/** Runs `body` with a new lab as a subtest, or skips it with the reason why there can be no lab. */
export function labTest(
  name: string,
  body: (t: Test, lab: Lab) => Promise<void>,
  timeoutMs: number = TIMEOUT_MS,
): void {
  const obstacle = labObstacle()
  if (obstacle !== undefined) {
    t.test(name, { skip: obstacle }, async () => {})
    return
  }
  // A file that is run by itself has tap's 30 seconds otherwise.
  t.setTimeout(timeoutMs)
  t.test(name, { timeout: timeoutMs }, async (test) => {
    const lab = new Lab()
    test.teardown(() => lab.close())
    await body(test as unknown as Test, lab)
  })
}
