// Preloaded into an agent (NODE_OPTIONS=--import=…) by the tests of crashes: it kills itself with
// SIGKILL just before one of the steps by which files of its data directory get their names or lose
// them. The agent itself has no such switch.
//
// Which step is in a file beside the data directory: a number that each step counts down, in
// whichever thread; at 0 the process dies. Without the file nothing is counted.

import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import process from 'node:process'

const folder = process.env.CRASH_FOLDER ?? ''
const counter = process.env.CRASH_COUNTER ?? ''
const { readFileSync, writeFileSync } = fs

function step(path: unknown): void {
  if (folder === '' || !String(path).startsWith(folder)) return
  let left: number
  try {
    left = Number(readFileSync(counter, 'utf8'))
  } catch {
    return
  }
  if (left === 0) process.kill(process.pid, 'SIGKILL')
  writeFileSync(counter, String(left - 1))
}

const { renameSync, rmSync, unlinkSync } = fs
fs.renameSync = (from, to) => {
  step(to)
  renameSync(from, to)
}
fs.rmSync = (path, options) => {
  step(path)
  rmSync(path, options)
}
fs.unlinkSync = (path) => {
  step(path)
  unlinkSync(path)
}
syncBuiltinESMExports()
