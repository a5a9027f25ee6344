// Goal: programs are started without a copy of this process, and behave as if Node had started
// them. Method: both ways side by side for every kind of end; then what only the lean one could get
// wrong: descriptors, signals, zombies, many at once.

import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { plain, type SpawnOptions, type Started, spawn } from './spawn.ts'

const env = { PATH: process.env.PATH ?? '', COLOUR: 'blé' }

interface Told {
  readonly exit: unknown
  readonly out: string
  readonly err: string
}

async function told(start: typeof spawn, words: string[], input = ''): Promise<Told> {
  const [program, ...parameters] = words as [string, ...string[]]
  const parts = { out: [] as Buffer[], err: [] as Buffer[] }
  const options: SpawnOptions = {
    env,
    input,
    onStdout: (text) => void parts.out.push(text),
    onStderr: (text) => void parts.err.push(text),
  }
  const { code, errno, ...exit } = (await start(program, parameters, options).ended.catch(
    ({ code, errno }: NodeJS.ErrnoException) => ({ code, errno }),
  )) as { code?: string; errno?: number }
  const whole = (texts: Buffer[]): string => Buffer.concat(texts).toString()
  return {
    exit: code === undefined ? exit : { code, errno },
    out: whole(parts.out),
    err: whole(parts.err),
  }
}

const sh = (script: string): string[] => ['sh', '-c', script]

const silent = { env, input: '', onStdout: () => {}, onStderr: () => {} }

function descriptors(): string[] {
  return readdirSync('/proc/self/fd')
}

t.test('as Node does it', async (t) => {
  const big = 'x'.repeat(300_000)
  for (const [words, input] of [
    [sh('exit 0')],
    [sh('exit 7')],
    [sh('kill -TERM $$')],
    [sh('kill -KILL $$')],
    [sh('echo out; echo err >&2; exit 255')],
    [sh('echo "$COLOUR $#"'), ''],
    [['cat'], `${big}\n`],
    [sh('head -c 5; exit 3'), big],
    [sh('head -c 2000000 /dev/zero | tr "\\0" y')],
    [sh('(sleep 0.3; echo late) & echo soon')],
    [['printf', '%s|', 'a b', '', '"', '\\', 'ü', "it's"]],
    [['/bin/sh', '-c', 'echo $0']],
    [['no-such-program-anywhere']],
    [['/etc/passwd']],
    [['/no/such/path']],
    [['/']],
  ] as [string[], string?][]) {
    t.same(
      await told(spawn, words, input),
      await told(plain, words, input),
      words.join(' ').slice(0, 60),
    )
  }
})

t.test('what a child is given', async (t) => {
  const [lean, twin] = await Promise.all(
    [spawn, plain].map((start) =>
      told(start, sh('ls /proc/self/fd; grep Sig[BI] /proc/self/status')),
    ),
  )
  for (const name of ['SigBlk', 'SigIgn']) {
    const [, hex] = new RegExp(`^${name}:\\s*(\\w+)`, 'm').exec(lean!.out)!
    // glibc has its own two, 32 and 33, ignored until the program wants them.
    t.equal(BigInt(`0x${hex}`) & ~0x1_8000_0000n, 0n, `${name}: nothing`)
  }
  const open = (text: string): string[] => text.match(/^\d+$/gm) ?? []
  t.ok(open(lean!.out).length >= 3)
  t.same(open(lean!.out), open(twin!.out), 'no other descriptors than from Node')
})

t.test('many at once, and nothing is left', async (t) => {
  await told(spawn, sh('exit 0'))
  const before = descriptors()
  const exits = Array.from(
    { length: 150 },
    (_, n) => spawn('sh', ['-c', `exit ${n}`], silent).ended,
  )
  t.same(
    (await Promise.all(exits)).map(({ status }) => status),
    Array.from({ length: 150 }, (_, n) => n),
  )
  await t.rejects(spawn('/no/such/path', [], silent).ended, { code: 'ENOENT' })
  t.same(descriptors(), before)
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
  t.equal(children, '', 'no zombies')
  t.equal(process.listenerCount('SIGCHLD'), 0)
})

t.test('time and patience end', async (t) => {
  const slow = (more: Partial<SpawnOptions>): Started =>
    spawn('sleep', ['60'], { ...silent, ...more })
  t.same(await slow({ timeoutMs: 50 }).ended, { status: null, signal: 'SIGKILL' })
  const patient = spawn('sleep', ['0.3'], { ...silent, timeoutMs: 2 ** 40 })
  t.same(await patient.ended, { status: 0, signal: null }, 'more than a timer of Node can wait')
  const abort = new AbortController()
  const one = slow({ signal: abort.signal })
  setTimeout(() => abort.abort(new Error('enough')), 50)
  await t.rejects(one.ended, /enough/)
  await t.rejects(slow({ signal: AbortSignal.abort(new Error('never')) }).ended, /never/)
  const other = slow({})
  other.kill()
  other.kill()
  t.same(await other.ended, { status: null, signal: 'SIGKILL' })
})
