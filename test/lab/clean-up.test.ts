// Goal: a lab leaves nothing on the machine, however it ends. Method: a child program makes a lab
// with hosts, a bridge and a process that would sleep for ever, then ends in each of the ways there
// are. Afterwards the machine must show no process with its marker, no new link, no new name of a
// network namespace.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { labObstacle } from '../../cli/lab/enter.ts'
import { waitFor } from '../../cli/lab/wait.ts'

const CHILD = fileURLToPath(new URL('./clean-up-child.ts', import.meta.url))

/** Ways to end: what the child does of itself, the signal that its outer process gets, and the
 * statuses that the outer process may end with (null = ended by the signal). */
const ENDS: readonly {
  name: string
  how: string
  signal?: NodeJS.Signals
  expect: readonly (number | null)[]
}[] = [
  { name: 'returns without closing the lab', how: 'return', expect: [0] },
  { name: 'closes the lab', how: 'close', expect: [0] },
  { name: 'throws', how: 'throw', expect: [1] },
  { name: 'is killed inside', how: 'kill', expect: [137] },
  { name: 'SIGINT', how: 'wait', signal: 'SIGINT', expect: [null, 130] },
  { name: 'SIGTERM', how: 'wait', signal: 'SIGTERM', expect: [null, 143] },
  { name: 'SIGKILL', how: 'wait', signal: 'SIGKILL', expect: [null] },
]

/** Command lines of the machine's processes that carry the marker. */
function marked(marker: string): string[] {
  const found: string[] = []
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')
      if (line.includes(marker)) found.push(`${pid} ${line}`)
    } catch {
      // It ended while we looked.
    }
  }
  return found
}

function machine(): { links: string[]; names: string[] } {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : []
  return { links: readdirSync('/sys/class/net').sort(), names: names.sort() }
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.on('close', (code) => resolve(code)))
}

interface Started {
  readonly child: ChildProcess
  /** Resolves with its status; listened for from the start, for some ends come quickly. */
  readonly over: Promise<number | null>
}

async function start(how: string, marker: string): Promise<Started> {
  // Without the test runner's preloaded modules, which would catch the signals.
  const command = ['-u', 'NODE_OPTIONS', process.execPath, CHILD, how, marker]
  const child = spawn('env', command, { stdio: ['ignore', 'pipe', 'pipe'] })
  const over = ended(child)
  let output = ''
  child.stdout?.on('data', (text: Buffer) => {
    output += text.toString()
  })
  const ready = (): boolean => output.includes('ready')
  await waitFor(ready, { what: 'the child to have its lab', timeoutMs: 20_000 })
  return { child, over }
}

const skip = labObstacle() ?? false
for (const [i, end] of ENDS.entries()) {
  t.test(`nothing is left when the program ${end.name}`, { skip }, async (t) => {
    const before = machine()
    const marker = `--lab-clean-up-${process.pid}-${i}`
    const { child, over } = await start(end.how, marker)
    if (end.signal) {
      // The marker is on the sleeper inside as well: the look below is able to fail.
      t.ok(marked(marker).some((line) => line.includes('1000000')))
      child.kill(end.signal)
    }
    const status = await over
    t.ok(end.expect.includes(status), `status ${status} is one of ${end.expect.join(', ')}`)
    await waitFor(() => marked(marker).length === 0, {
      what: `no process with ${marker}, there is ${marked(marker).join('; ')}`,
    })
    t.same(machine(), before)
  })
}
