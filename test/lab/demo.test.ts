// Goal: `weft demo` does what it says, and leaves nothing whenever it is ended. Method: run it as a
// person would, from outside; read its lines, fetch its metrics URL, press Ctrl-C at several
// moments, then look for its processes.

import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { labObstacle } from '../../cli/lab/enter.ts'
import { waitFor } from '../../cli/lab/wait.ts'

const WEFT = fileURLToPath(new URL('../../cli/weft.ts', import.meta.url))
const READY_MS = 200_000

interface Demo {
  readonly child: ChildProcess
  readonly over: Promise<number | null>
  output: string
}

function start(...args: string[]): Demo {
  // Without the test runner's preloaded modules, which would catch the signals.
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', WEFT, 'demo', ...args]
  const child = spawn('env', ['-u', 'NODE_OPTIONS', ...node], { stdio: ['ignore', 'pipe', 'pipe'] })
  const over = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)))
  const demo: Demo = { child, over, output: '' }
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      demo.output += text
    })
  }
  return demo
}

/** Waits until the output matches; a demo that has ended will not say it any more. */
async function said(demo: Demo, pattern: RegExp): Promise<RegExpExecArray> {
  const look = (): RegExpExecArray | 'ended' | null =>
    pattern.exec(demo.output) ?? (demo.child.exitCode === null ? null : 'ended')
  const found = await waitFor(look, { what: `${pattern} from the demo`, timeoutMs: READY_MS })
  if (found === 'ended') throw new Error(`the demo ended:\n${demo.output}`)
  return found
}

/** Processes of the machine whose parent chain leads to `root`; they may have been orphaned
 * since. */
function descendants(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // It ended while we looked.
    }
  }
  const found = new Set([root])
  for (let size = 0; size !== found.size; ) {
    size = found.size
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid)
  }
  found.delete(root)
  return [...found]
}

function alive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
  } catch {
    return false
  }
}

const skip = labObstacle() ?? false

t.test('--once checks everything and exits 0', { skip }, async (t) => {
  const demo = start('--once')
  t.equal(await demo.over, 0, demo.output)
  const lines = demo.output.split('\n')
  t.ok(lines.filter((line) => line.startsWith('ok ')).length >= 10)
  t.same(
    lines.filter((line) => line.startsWith('FAIL')),
    [],
  )
  for (const line of lines) t.ok(line.length <= 80, line)
  t.notOk(demo.output.includes('\x1b'), 'no escape sequences without a terminal')
})

/** Moments at which Ctrl-C comes: what the output must show by then. */
const MOMENTS: readonly [string, RegExp, NodeJS.Signals][] = [
  ['the hosts are there', /made 3 hosts/, 'SIGINT'],
  ['the swarm is being made', /started 3 agents/, 'SIGTERM'],
  ['it is running', /Metrics: /, 'SIGINT'],
]

for (const [name, pattern, signal] of MOMENTS) {
  t.test(`${signal} when ${name} leaves nothing`, { skip }, async (t) => {
    const demo = start()
    await said(demo, pattern)
    const family = descendants(demo.child.pid!)
    t.ok(family.length > 0)
    demo.child.kill(signal)
    await demo.over
    await waitFor(() => !family.some(alive), { what: 'the end of all its processes' })
    t.notMatch(demo.output, /FAIL|rror/)
  })
}

t.test('the metrics URL answers on the loopback while it runs', { skip }, async (t) => {
  const demo = start()
  t.teardown(() => demo.child.kill('SIGTERM'))
  const url = (await said(demo, /Metrics: (\S+)/))[1]!
  const response = await fetch(url)
  t.match(response.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  t.match(await response.text(), /^weft_tables_version\{node="node3"\} \d+$/m)
  t.equal((await fetch(url.replace('metrics', 'other'))).status, 404)
  demo.child.kill('SIGINT')
  t.equal(await demo.over, 0)
})

t.test('a wrong option is refused with status 2', async (t) => {
  const demo = start('--often')
  t.equal(await demo.over, 2)
  t.match(demo.output, /--often/)
  t.match(demo.output, /see "weft demo --help"/)
})
