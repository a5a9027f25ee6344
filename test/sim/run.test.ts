// Goal: the simulator's command line says what it knows. Method: the program as a process.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

function sim(...args: string[]): { status: number | null; out: string; err: string } {
  const program = join(import.meta.dirname, 'run.ts')
  const run = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' })
  return { status: run.status, out: run.stdout, err: run.stderr }
}

t.test('command lines', async (t) => {
  const usage = /usage: npm run sim -- --seed N --runs M/
  t.match(sim('--help'), { status: 0, out: usage })
  t.match(sim('--sede', '1'), { status: 2, out: '', err: usage })
  t.match(sim('x'), { status: 2, out: '', err: usage })
  t.match(sim('--seed', 'x'), { status: 2, out: '', err: '--seed takes a number, not x' })
  t.match(sim('--mutate', 'x'), { status: 2, out: '', err: '--mutate takes one of ' })
  t.match(sim('--seconds', '1'), { status: 0, out: '1 runs, 0 failed', err: '' })
})
