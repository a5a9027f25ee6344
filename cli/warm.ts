// Fills Node's compile cache: loads every file that a running agent loads, and ends. The launcher
// runs it before the first start and after a change of the sources, so that no long-lived process
// has to load the TypeScript stripper (20 MB of resident memory).
//
// weft.ts acts when it is loaded, so it is asked for its version. The packet loop's file refuses to
// run outside its thread; its code has been compiled and kept by then.

import process from 'node:process'

/** Files that are loaded late, at run time; the rest follows from their imports. */
const LATE: readonly string[] = [
  './dataplane.ts',
  './keygen.ts',
  './metrics-registry.ts',
  './demo.ts',
  './engine-worker.ts',
]

process.argv.splice(2, process.argv.length, 'version')
await import('./weft.ts')
for (const file of LATE) {
  // A file that is not part of this installation is no reason to stop.
  await import(file).catch(() => {})
}
process.exit(0)
