// Goal: spinning happens only with dense traffic on an uncontended core, and stops by itself.

import t from 'tap'
import { REST_MS_MAX, REST_MS_MIN, SPIN_MS, Spinner } from './spinner.ts'

const dense = (spinner: Spinner): void => {
  for (let i = 0; i < 40; i++) spinner.worked(SPIN_MS / 4)
}

t.test('an idle loop never spins', async (t) => {
  const spinner = new Spinner()
  t.notOk(spinner.wanted(0))
  for (let i = 0; i < 100; i++) spinner.worked(500)
  t.notOk(spinner.wanted(1000))
})

t.test('dense traffic makes it spin, silence stops it', async (t) => {
  const spinner = new Spinner()
  dense(spinner)
  t.ok(spinner.wanted(0))
  let misses = 0
  while (spinner.wanted(0)) {
    spinner.missed(SPIN_MS)
    misses++
    t.ok(misses < 100)
  }
  t.ok(misses > 0)
})

t.test('contention makes it rest, longer each time, up to a limit', async (t) => {
  const spinner = new Spinner()
  dense(spinner)
  spinner.contended(100)
  t.notOk(spinner.wanted(100 + REST_MS_MIN - 1))
  t.ok(spinner.wanted(100 + REST_MS_MIN))
  for (let i = 0; i < 20; i++) spinner.contended(200)
  t.notOk(spinner.wanted(200 + REST_MS_MAX - 1))
  t.ok(spinner.wanted(200 + REST_MS_MAX))
})

t.test('calm shortens the rest again', async (t) => {
  const spinner = new Spinner()
  dense(spinner)
  for (let i = 0; i < 20; i++) spinner.contended(0)
  for (let i = 0; i < 20; i++) spinner.calm()
  spinner.contended(1000)
  t.ok(spinner.wanted(1000 + REST_MS_MIN))
})
