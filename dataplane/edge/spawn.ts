// Starting programs without fork(). Node's spawn() copies the page tables of the whole process
// first, under a lock that every page fault of every thread waits for, and after it each page that
// is written to is copied once more: with an agent of 180 MB the packet loop and the name server
// stood still for some 5 ms at each `ip` and each probe of a task's health. posix_spawn() shares
// the memory with the child until that has become another program (clone(2), CLONE_VM and
// CLONE_VFORK), and halts the calling thread alone.
//
// What a child gets: pipes for its standard streams, no other descriptor, no signal blocked or
// ignored. Its end is seen by SIGCHLD and waitpid(); libuv waits for its own children only, so both
// may be used side by side. In a worker thread, which hears of no signal, and where libc lacks
// something, Node's own spawn() does the same.
//
// Tasks are still started by fork(): with posix_spawn() the 300 of the benchmark, all at once on
// two cores, cost a node its heartbeats in two of five rounds, and in none without.

import { spawn as forkAndRun } from 'node:child_process'
import { accessSync, constants as modes } from 'node:fs'
import { Socket } from 'node:net'
import { constants } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { getSystemErrorName } from 'node:util'
import { isMainThread } from 'node:worker_threads'
import { startTimer } from '../../base/long-timer.ts'
import * as libc from './libc.ts'
import { REAP_MS } from './limits.ts'

export interface SpawnOptions {
  readonly env: NodeJS.ProcessEnv
  /** What the child reads; '' = nothing. */
  readonly input: string
  /** The child is killed after it. Default never. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly onStdout: (text: Buffer) => void
  readonly onStderr: (text: Buffer) => void
}

export interface Exit {
  /** Null for one that a signal ended. */
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
}

/** A program under way. */
export interface Started {
  /** Kills it; one that has ended, not. */
  kill(): void
  /** Resolves when it has ended and its output is complete. Rejects with the system's error
   * (`code`) when it cannot be started, with the signal's reason when that was aborted. */
  readonly ended: Promise<Exit>
}

/** Starts a program, which is looked for in the PATH of `env`. */
export function spawn(
  program: string,
  parameters: readonly string[],
  options: SpawnOptions,
): Started {
  const start = isMainThread && libc.canSpawn ? lean : plain
  const { signal, timeoutMs } = options
  let abort = (): void => {}
  const aborted = new Promise<never>((_, fail) => {
    abort = () => {
      child.kill()
      fail(signal?.reason)
    }
  })
  aborted.catch(() => {})
  const child = start(program, parameters, options)
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort)
  const cancel = timeoutMs === undefined ? () => {} : startTimer(timeoutMs, () => child.kill())
  const ended = Promise.race([child.ended, aborted]).finally(() => {
    cancel()
    signal?.removeEventListener('abort', abort)
  })
  return { kill: () => child.kill(), ended }
}

/** The plain twin. */
export function plain(
  program: string,
  parameters: readonly string[],
  { env, input, onStdout, onStderr }: SpawnOptions,
): Started {
  const child = forkAndRun(program, parameters, { env, stdio: 'pipe' })
  child.stdout.on('data', onStdout)
  child.stderr.on('data', onStderr)
  const ended = new Promise<Exit>((settle, fail) => {
    child.on('error', fail)
    child.on('close', (status, signal) => settle({ status, signal }))
  })
  feed(child.stdin, input)
  return { kill: () => void child.kill('SIGKILL'), ended }
}

/** A program that ends before it read everything: its status says more than our EPIPE. */
function feed(stdin: Writable, input: string): void {
  stdin.on('error', () => {})
  stdin.end(input)
}

export function lean(
  program: string,
  parameters: readonly string[],
  { env, input, onStdout, onStderr }: SpawnOptions,
): Started {
  let pipes: readonly [libc.Pipe, libc.Pipe, libc.Pipe]
  try {
    pipes = openPipes()
  } catch (error) {
    return failed(error)
  }
  const [stdin, stdout, stderr] = pipes
  const theirs = [stdin.read, stdout.write, stderr.write]
  const path = find(program, env.PATH ?? '')
  const words = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const pid = libc.posixSpawn(path, [program, ...parameters], words, theirs)
  closeAll(theirs)
  if (pid < 0) {
    closeAll([stdin.write, stdout.read, stderr.read])
    return failed(refusal(program, -pid))
  }
  feed(new Socket({ fd: stdin.write, readable: false, writable: true }), input)
  const ended = Promise.all([
    reaper.wait(pid),
    drain(new Socket({ fd: stdout.read, readable: true, writable: false }), onStdout),
    drain(new Socket({ fd: stderr.read, readable: true, writable: false }), onStderr),
  ])
  return { kill: () => reaper.kill(pid), ended: ended.then(([exit]) => exit) }
}

function openPipes(): readonly [libc.Pipe, libc.Pipe, libc.Pipe] {
  const made: libc.Pipe[] = []
  try {
    for (let n = 0; n < 3; n++) made.push(libc.pipe())
  } catch (error) {
    closeAll(made.flatMap(({ read, write }) => [read, write]))
    throw error
  }
  return [made[0]!, made[1]!, made[2]!]
}

function closeAll(descriptors: readonly number[]): void {
  for (const fd of descriptors) libc.close(fd)
}

function failed(error: unknown): Started {
  return { kill: () => {}, ended: Promise.reject(error) }
}

function drain(stream: Readable, onData: (text: Buffer) => void): Promise<void> {
  stream.on('data', onData)
  stream.on('error', () => {})
  return new Promise((closed) => stream.on('close', () => closed()))
}

function refusal(program: string, errno: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno)
  return Object.assign(new Error(`spawn ${program} ${code}`), { code, errno: -errno })
}

/** The first of that name that may be run; where there is none, a path that the system refuses. */
function find(program: string, path: string): string {
  if (program.includes('/')) return program
  for (const directory of path.split(delimiter)) {
    if (directory === '') continue
    const candidate = join(directory, program)
    try {
      accessSync(candidate, modes.X_OK)
      return candidate
    } catch {
      // Not there, or not for us.
    }
  }
  return `/nonexistent/${program}`
}

/** Children that have not been waited for. Their numbers are not given to others until then. */
class Reaper {
  readonly #waiting = new Map<number, (exit: Exit) => void>()
  #poll: NodeJS.Timeout | null = null
  readonly #onChild = (): void => this.#reap()

  wait(pid: number): Promise<Exit> {
    const exit = new Promise<Exit>((settle) => this.#waiting.set(pid, settle))
    if (this.#poll === null) {
      process.on('SIGCHLD', this.#onChild)
      // Keeps the event loop going, and is there should a signal be lost.
      this.#poll = setInterval(this.#onChild, REAP_MS)
    }
    this.#reap()
    return exit
  }

  kill(pid: number): void {
    if (this.#waiting.has(pid)) process.kill(pid, 'SIGKILL')
  }

  #reap(): void {
    for (const [pid, settle] of this.#waiting) {
      const status = libc.waitpid(pid)
      if (status === null) continue
      this.#waiting.delete(pid)
      settle(exitOf(status))
    }
    if (this.#waiting.size > 0 || this.#poll === null) return
    clearInterval(this.#poll)
    this.#poll = null
    process.off('SIGCHLD', this.#onChild)
  }
}

const reaper = new Reaper()

const SIGNALS = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
)

/** What waitpid(2) gives: the signal in the low seven bits, or the status above them. */
function exitOf(status: number): Exit {
  const signal = status & 0x7f
  if (signal === 0) return { status: (status >> 8) & 0xff, signal: null }
  return { status: null, signal: SIGNALS.get(signal) ?? 'SIGKILL' }
}
