// Goal: a disk that is full costs no line that a task has written, and nobody who follows sees one
// twice. Method: the log of a directory, and the file that the kernel has for this.

import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { logLimits, TaskLog } from './task-log.ts'

const never = new AbortController().signal
const all = { follow: false, tail: -1, sinceMs: 0, stdout: true, stderr: true }

t.test('a full disk', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-task-log-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const startProgram = (): never => {
    throw new Error('no program is needed')
  }
  const log = new TaskLog(folder, logLimits(), { wallNs: () => 1n, startProgram })
  const stop = new AbortController()
  const followed: string[] = []
  const following = (async () => {
    for await (const { data } of log.lines({ ...all, follow: true }, stop.signal)) {
      followed.push(String(data))
      if (followed.length === 2) stop.abort()
    }
  })()
  writeFileSync(join(folder, 'out'), 'one\ntwo\n')
  symlinkSync('/dev/full', join(folder, 'log'))
  log.collect(false)
  rmSync(join(folder, 'log'))
  log.collect(false)
  await following
  const lines: string[] = []
  for await (const { data } of log.lines(all, never)) lines.push(String(data))
  t.same(lines, ['one\n', 'two\n'])
  t.same(followed, lines)
  log.close()
})
