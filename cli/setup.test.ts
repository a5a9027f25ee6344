// Goal: setup.sh installs once, survives interruption and rivals, and says in one sentence what is
// in the way. Method: a copy of the script beside a lock file, with an npm on the PATH that is a
// few lines of shell and notes each of its runs.

import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import t from 'tap'

const NPM_GOOD = `sleep 0.2; mkdir -p node_modules/.bin; cp /bin/true node_modules/.bin/node`

interface Place {
  readonly root: string
  readonly env: NodeJS.ProcessEnv
  readonly runs: () => number
}

function place(folder: string, npm: string = NPM_GOOD): Place {
  const root = join(folder, 'checkout')
  mkdirSync(join(root, 'cli'), { recursive: true })
  mkdirSync(join(folder, 'bin'))
  copyFileSync(join(import.meta.dirname, 'setup.sh'), join(root, 'cli/setup.sh'))
  writeFileSync(join(root, 'package-lock.json'), '{}')
  const log = join(folder, 'runs')
  writeFileSync(log, '')
  writeFileSync(join(folder, 'bin/npm'), `#!/bin/sh\necho "$*" >> ${log}\n${npm}\n`)
  chmodSync(join(folder, 'bin/npm'), 0o755)
  return {
    root,
    env: { ...process.env, PATH: `${join(folder, 'bin')}:${process.env.PATH}` },
    runs: () => readFileSync(log, 'utf8').split('\n').length - 1,
  }
}

function setup({ root, env }: Place, want: string = 'runtime'): { status: number; words: string } {
  const run = spawnSync('sh', [join(root, 'cli/setup.sh'), want], { env, encoding: 'utf8' })
  return { status: run.status ?? -1, words: `${run.stdout}${run.stderr}` }
}

t.test('installs once, and again when the lock file or the wish changes', async (t) => {
  const p = place(t.testdir())
  t.equal(setup(p).status, 0)
  t.strictSame(setup(p), { status: 0, words: '' })
  t.equal(p.runs(), 1)
  setup(p, 'all')
  t.equal(p.runs(), 2)
  t.strictSame(setup(p, 'runtime'), { status: 0, words: '' }, 'all covers runtime')
  writeFileSync(join(p.root, 'package-lock.json'), '{"x":1}')
  setup(p, 'runtime')
  t.equal(p.runs(), 3)
  t.notOk(existsSync(join(p.root, '.weft-setup.lock')))
})

t.test(
  "tap's runner is made with the packages for tests, and not with those for running",
  async (t) => {
    const tap = String.raw`printf '#!/bin/sh\necho "$*" > made\nexit 1\n' > node_modules/.bin/tap`
    const p = place(t.testdir(), `${NPM_GOOD}; ${tap}; chmod 755 node_modules/.bin/tap`)
    const made = join(p.root, 'made')
    t.equal(setup(p).status, 0)
    t.notOk(existsSync(made))
    t.strictSame(setup(p, 'all').status, 0, 'it may fail')
    t.equal(readFileSync(made, 'utf8'), 'build\n')
  },
)

t.test('an installation that was interrupted starts anew', async (t) => {
  const p = place(t.testdir(), `${NPM_GOOD}; kill -9 $PPID`)
  t.not(setup(p).status, 0)
  t.ok(existsSync(join(p.root, '.weft-setup.lock')), 'its lock is left')
  writeFileSync(join(p.root, '../bin/npm'), `#!/bin/sh\n${NPM_GOOD}\n`)
  t.equal(setup(p).status, 0)
  t.strictSame(setup(p), { status: 0, words: '' })
})

t.test('Ctrl-C takes the lock away', async (t) => {
  const p = place(t.testdir(), 'mkdir -p node_modules; touch started; sleep 30')
  const child = spawn('sh', [join(p.root, 'cli/setup.sh')], { env: p.env, detached: true })
  const ended = new Promise((done) => child.on('exit', done))
  const deadline = performance.now() + 10_000
  while (!existsSync(join(p.root, 'started')) && performance.now() < deadline) {
    await new Promise((done) => setTimeout(done, 20))
  }
  process.kill(-child.pid!, 'SIGINT')
  await ended
  t.notOk(existsSync(join(p.root, '.weft-setup.lock')))
})

t.test('of two at once, one installs and both succeed', async (t) => {
  const p = place(t.testdir())
  const script = join(p.root, 'cli/setup.sh')
  const both = [0, 1, 2].map(
    () =>
      new Promise<number | null>((done) => {
        spawn('sh', [script], { env: p.env, stdio: 'ignore' }).on('exit', done)
      }),
  )
  t.strictSame(await Promise.all(both), [0, 0, 0])
  t.equal(p.runs(), 1)
})

t.test('what is in the way is one sentence', async (t) => {
  const rows: readonly (readonly [string, string, RegExp])[] = [
    [
      'no network',
      'echo "npm error code EAI_AGAIN" >&2; exit 1',
      /could not be downloaded: no connection to the npm registry/,
    ],
    ['disk full', 'echo "npm error ENOSPC" >&2; exit 1', /the disk of .* is full/],
    ['no permission', 'echo "npm error EACCES" >&2; exit 1', /no permission to write/],
    ['anything else', 'echo "npm error odd" >&2; exit 1', /could not be installed: npm error odd/],
    ['no Node', 'mkdir -p node_modules', /npm left out the package with Node 24/],
  ]
  for (const [name, npm, words] of rows) {
    const p = place(t.testdir(), npm)
    const run = setup(p)
    t.equal(run.status, 1, name)
    t.match(run.words, words, name)
    t.equal(run.words.trimEnd().split('\n').length, 2, `${name}: what it does and why it failed`)
  }
})

t.test('a checkout that cannot be written', async (t) => {
  // Root may write everywhere, so it asks as somebody else, in a place where that user may look.
  const folder = mkdtempSync(join(tmpdir(), 'weft-setup-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  chmodSync(folder, 0o755)
  const p = place(folder)
  setup(p)
  chmodSync(p.root, 0o555)
  const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
  const ask = (want: string): { status: number | null; stderr: string } =>
    spawnSync('sh', [join(p.root, 'cli/setup.sh'), want], {
      env: p.env,
      encoding: 'utf8',
      ...nobody,
    })
  t.match(ask('runtime'), { status: 0, stderr: '' }, 'installed: nothing to do')
  t.match(ask('all'), {
    status: 1,
    stderr: /^weft: packages are not installed and .* cannot be written/,
  })
  chmodSync(p.root, 0o755)
})
