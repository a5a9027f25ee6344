// The inner half of thread.ts: moves the calling thread into its namespace for good, then answers.

import { parentPort, workerData } from 'node:worker_threads'
import * as libc from '../../dataplane/edge/libc.ts'
import type { Answer, Methods, Question } from './thread.ts'

function enter(netns: string): void {
  const fd = libc.open(netns, libc.O_RDONLY | libc.O_CLOEXEC)
  if (fd < 0) throw new Error(`${netns} is not there`)
  const result = libc.setns(fd, libc.CLONE_NEWNET)
  libc.close(fd)
  if (result < 0) throw new Error(`setns(${netns}): errno ${-result}`)
}

/** Enters the namespace, then calls `methods` as asked. Several calls may be under way at a
 * time. */
export function serve(methods: Methods): void {
  enter((workerData as { netns: string }).netns)
  parentPort?.on('message', async ({ id, method, parameters }: Question) => {
    let answer: Answer
    try {
      answer = { id, value: await methods[method]!(...parameters) }
    } catch (error) {
      answer = { id, error: (error as Error).message }
    }
    parentPort?.postMessage(answer)
  })
}
