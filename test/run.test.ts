// Goal: the runner's verdicts, counts and exit status can be trusted. Method: it runs over folders
// of small programs that print TAP by hand, one per way in which a test file can end.

import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const RUNNER = join(import.meta.dirname, 'run.ts')
const GOOD = `console.log('TAP version 14\\nok 1 - one\\nok 2 - two\\n1..2')`

function runOver(root: string, ...words: string[]): { status: number | null; lines: string[] } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [RUNNER, `--root=${root}`, ...words],
    { encoding: 'utf8' },
  )
  return { status, lines: `${stdout}${stderr}`.trimEnd().split('\n') }
}

t.test('passing files end with the counts alone on the last line', async (t) => {
  const root = t.testdir({
    'a.test.ts': GOOD,
    sub: { 'b.test.ts': GOOD, 'not-a-test.ts': 'throw 1' },
    node_modules: { x: { 'c.test.ts': 'throw new Error("must not run")' } },
    checkout: { '.git': '', 'd.test.ts': 'throw new Error("must not run")' },
    '.hidden': { 'e.test.ts': 'throw new Error("must not run")' },
  })
  const { status, lines } = runOver(root)
  t.equal(status, 0)
  t.equal(lines.at(-1), '4 passed, 0 failed')
  t.match(
    lines.find((line) => line.includes('sub/b')),
    /^ok +sub\/b\.test\.ts {2}2 passed {2}\d+\.\ds$/,
  )
})

t.test('words choose files; no match is an error', async (t) => {
  const root = t.testdir({ 'a.test.ts': GOOD, sub: { 'b.test.ts': 'process.exit(1)' } })
  t.equal(runOver(root, 'a.test').status, 0)
  t.equal(runOver(root, './sub').status, 1)
  const { status, lines } = runOver(root, 'nothing-like-it')
  t.equal(status, 2)
  t.match(lines.join('\n'), /no test file matches nothing-like-it/)
})

t.test('every bad ending counts as a failure', async (t) => {
  const cases: Record<string, { source: string; words: RegExp; last: string }> = {
    assertion: {
      source: `console.log(
        '# Subtest: outer\\n    ok 1 - fine\\n    not ok 2 - wrong\\n      ---\\n      diff: |\\n' +
        '        -2\\n        +1\\n      ...\\n    1..2\\nnot ok 1 - outer\\n1..1')
        process.exit(1)`,
      words: /not ok: .*wrong\n\s+diff: \|\n\s+-2\n\s+\+1/,
      last: '1 passed, 1 failed',
    },
    status: {
      source: `${GOOD}; process.exitCode = 7`,
      words: /exited with status 7/,
      last: '2 passed, 1 failed',
    },
    signal: {
      source: `${GOOD}; process.kill(process.pid, 'SIGKILL')`,
      words: /ended by SIGKILL/,
      last: ' 1 failed',
    },
    silence: { source: '', words: /asserted nothing/, last: '0 passed, 1 failed' },
    'broken promise': {
      source: `console.log('ok 1 - one\\n1..2')`,
      words: /TAP: incorrect number of tests/,
      last: '1 passed, 1 failed',
    },
    exception: {
      source: `throw new Error('the reason')`,
      words: /the reason/,
      last: '0 passed, 1 failed',
    },
    leftover: {
      source: `const { spawn } = await import('node:child_process')
        spawn('sleep', ['60'], { stdio: 'ignore' }).unref(); ${GOOD}`,
      words: /left processes running/,
      last: '2 passed, 1 failed',
    },
  }
  for (const [name, { source, words, last }] of Object.entries(cases)) {
    const { status, lines } = runOver(t.testdir({ 'x.test.ts': source }))
    t.equal(status, 1, name)
    t.match(lines.join('\n'), words, name)
    t.match(lines.at(-1), new RegExp(`${last}$`), name)
  }
})

t.test('skipped tests are listed with their reasons', async (t) => {
  const root = t.testdir({
    'a.test.ts': `console.log('ok 1 - one\\nok 2 - two # SKIP no promtool\\n1..2')`,
    'b.test.ts': `console.log('1..0 # SKIP no user namespaces')`,
  })
  const { status, lines } = runOver(root)
  t.equal(status, 0)
  t.match(lines.join('\n'), /a\.test\.ts: .*two: no promtool/)
  t.match(lines.join('\n'), /b\.test\.ts: no user namespaces/)
  t.equal(lines.at(-1), '1 passed, 0 failed, 2 skipped')
})

t.test('lab files run after the others', async (t) => {
  const root = t.testdir({
    test: { lab: { 'a.test.ts': GOOD } },
    zebra: { 'z.test.ts': GOOD },
  })
  const order = runOver(root).lines.filter((line) => line.startsWith('ok'))
  t.match(order[0], /zebra/)
  t.match(order[1], /lab/)
})

t.test('labs that wait run beside two others', async (t) => {
  const wait = `const { existsSync } = require('node:fs')
    const deadline = Date.now() + 20_000
    const look = setInterval(() => {
      if (!existsSync('up') && Date.now() < deadline) return
      clearInterval(look)
      console.log(existsSync('up') ? 'ok 1 - it ran\\n1..1' : 'not ok 1 - it did not\\n1..1')
    }, 20)`
  const root = t.testdir({
    test: {
      lab: {
        'a.test.ts': wait,
        'b.test.ts': wait,
        'docker-engine.test.ts': `require('node:fs').writeFileSync('up', ''); ${GOOD}`,
      },
    },
    'package.json': '{"type":"commonjs"}',
  })
  t.equal(runOver(root).lines.at(-1), '4 passed, 0 failed')
})

t.test('an interrupted run ends what it started', async (t) => {
  const root = t.testdir({
    'a.test.ts': `console.log('pid', process.pid); process.stderr.write('up\\n')
      require('node:fs').writeFileSync('up', String(process.pid)); setInterval(() => {}, 1000)`,
    'package.json': '{"type":"commonjs"}',
  })
  const { existsSync, readFileSync } = await import('node:fs')
  const runner = spawn(process.execPath, [RUNNER, `--root=${root}`], { stdio: 'ignore' })
  const ended = new Promise<number | null>((done) => runner.on('exit', done))
  const deadline = performance.now() + 20_000
  const pidFile = join(root, 'up')
  while (!existsSync(pidFile) || readFileSync(pidFile, 'utf8') === '') {
    if (performance.now() > deadline) throw new Error('the test file did not start')
    await new Promise((done) => setTimeout(done, 20))
  }
  runner.kill('SIGINT')
  t.equal(await ended, 130)
  t.throws(() => process.kill(Number(readFileSync(pidFile, 'utf8')), 0), { code: 'ESRCH' })
})
