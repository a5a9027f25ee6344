// The thread behind probe.ts: enters the namespace it is told, then answers requests one by one.
// Every request uses a new connection, so that a load balancer chooses anew each time.

import { createSocket } from 'node:dgram'
import { closeSync, openSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { isIPv6 } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import koffi from 'koffi'
import { PROBE_ANSWER_BYTES_MAX } from './limits.ts'
import type { ProbeAnswer, ProbeRequest } from './probe.ts'
import { STARTED } from './thread.ts'

/** linux/sched.h */
const CLONE_NEWNET = 0x40000000

function enter(netns: string): void {
  const libc = koffi.load(null)
  const setns = libc.func('int setns(int fd, int nstype)')
  const fd = openSync(netns, 'r')
  const result = setns(fd, CLONE_NEWNET)
  closeSync(fd)
  if (result !== 0) throw new Error(`setns(${netns}) failed: errno ${koffi.errno()}`)
}

type Outcome = Omit<ProbeAnswer, 'id' | 'durationMs'>

function get(asked: ProbeRequest): Promise<Outcome> {
  const keep = asked.kind === 'get'
  return new Promise((resolve) => {
    const failed = (error: string): void => resolve({ error, status: 0, body: '', bytes: 0 })
    const agent = new Agent({ keepAlive: false })
    const call = request(asked.url, { agent, timeout: asked.timeoutMs }, (response) => {
      const pieces: Buffer[] = []
      let bytes = 0
      response.on('data', (piece: Buffer) => {
        bytes += piece.length
        if (!keep) return
        if (bytes > PROBE_ANSWER_BYTES_MAX) call.destroy(new Error('the answer is too long'))
        else pieces.push(piece)
      })
      response.on('end', () => {
        clearTimeout(deadline)
        const body = Buffer.concat(pieces).toString('utf8')
        resolve({ status: response.statusCode ?? 0, body, bytes })
      })
      response.on('error', (error) => failed(error.message))
    })
    const late = (): void => {
      call.destroy(new Error(`no answer within ${asked.timeoutMs} ms`))
    }
    const deadline = setTimeout(late, asked.timeoutMs)
    call.on('error', (error) => {
      clearTimeout(deadline)
      failed(error.message)
    })
    call.end()
  })
}

function udp(asked: ProbeRequest): Promise<Outcome> {
  const url = new URL(asked.url)
  const address = url.hostname.replace(/^\[|\]$/g, '')
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    const finish = (outcome: Outcome): void => {
      clearTimeout(deadline)
      socket.close()
      resolve(outcome)
    }
    const failed = (error: string): void => finish({ error, status: 0, body: '', bytes: 0 })
    const late = (): void => failed(`no answer within ${asked.timeoutMs} ms`)
    const deadline = setTimeout(late, asked.timeoutMs)
    socket.on('error', (error) => failed(error.message))
    socket.on('message', (message) => {
      finish({ status: 0, body: message.toString('utf8'), bytes: message.length })
    })
    // Connected, so that an ICMP error comes back as ECONNREFUSED instead of silence.
    socket.connect(Number(url.port), address, () => socket.send(asked.text ?? ''))
  })
}

enter((workerData as { netns: string }).netns)
parentPort?.on('message', async (asked: ProbeRequest) => {
  const startMs = performance.now()
  const outcome = asked.kind === 'udp' ? await udp(asked) : await get(asked)
  const durationMs = performance.now() - startMs
  parentPort?.postMessage({ id: asked.id, durationMs, ...outcome } satisfies ProbeAnswer)
})
parentPort?.postMessage(STARTED)
