// Goal: the sockets are there while ports are published, and a host that has none is asked once.
// Method: files in place of sockets, whose descriptors can be looked at.

import { fstatSync, openSync } from 'node:fs'
import t from 'tap'
import { sinkLogger } from '../base/log.ts'
import { EdgeError } from '../dataplane/edge/errors.ts'
import { IcmpSockets } from './icmp-sockets.ts'

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd)
    return true
  } catch {
    return false
  }
}

t.test('open while ports are published', async (t) => {
  const lines: string[] = []
  const log = sinkLogger((_, message) => lines.push(message))
  const opened: number[] = []
  const sockets = new IcmpSockets(log, (family) => {
    opened.push(family)
    return openSync('/dev/null', 'r')
  })
  t.same(sockets.wanted(false), [])
  t.same(opened, [])
  const handles = sockets.wanted(true)
  t.same(
    handles.map(({ family }) => family),
    [4, 6],
  )
  t.equal(sockets.wanted(true), handles, 'the same for the next tables')
  sockets.retain(handles)
  t.ok(handles.every(({ fd }) => isOpen(fd)))
  const none = sockets.wanted(false)
  t.ok(
    handles.every(({ fd }) => isOpen(fd)),
    'the loop still reads from them',
  )
  sockets.retain(none)
  t.notOk(handles.some(({ fd }) => isOpen(fd)))
  const again = sockets.wanted(true)
  t.equal(again.length, 2)
  sockets.close()
  t.notOk(again.some(({ fd }) => isOpen(fd)))
  t.same(lines, [])
})

t.test('a host without IPv6', async (t) => {
  const log = sinkLogger(() => {})
  const sockets = new IcmpSockets(log, (family) =>
    family === 6 ? null : openSync('/dev/null', 'r'),
  )
  t.same(
    sockets.wanted(true).map(({ family }) => family),
    [4],
  )
  sockets.close()
})

t.test('a host that permits none, or only one, is told of once', async (t) => {
  for (const refusedFamily of [4, 6]) {
    const lines: string[] = []
    const log = sinkLogger((level, message) => lines.push(`${level} ${message}`))
    const fds: number[] = []
    const sockets = new IcmpSockets(log, (family) => {
      if (family === refusedFamily) throw new EdgeError('NO_PERMISSION', 'socket', 'not permitted')
      fds.push(openSync('/dev/null', 'r'))
      return fds.at(-1)!
    })
    t.same(sockets.wanted(true), [])
    t.same(sockets.wanted(true), [])
    t.same(lines, ['warn ICMP errors from outside do not reach backends'])
    t.equal(fds.length, refusedFamily === 4 ? 0 : 1)
    t.notOk(fds.some(isOpen), 'nothing stays open')
    sockets.close()
  }
})

t.test('what is wrong with the program is no matter of the host', async (t) => {
  const sockets = new IcmpSockets(
    sinkLogger(() => {}),
    () => {
      throw new TypeError('a mistake')
    },
  )
  t.throws(() => sockets.wanted(true), TypeError)
})
