// Goal: the control socket answers who may ask, and nothing that a client sends or does not send
// harms the agent. Method: a real socket in a folder of its own; a client, and raw bytes.

import { linkSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { silentLogger } from '../base/log.ts'
import { ControlClient } from './control-client.ts'
import { type Handler, openPlace, serveControl } from './control-server.ts'
import { CONTROL_CONNECTIONS_MAX, CONTROL_LINE_SIZE_MAX } from './limits.ts'
import { LineSplitter } from './lines.ts'

const HANDLERS: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ['status', () => ({ version: '1', processId: 1, tablesVersion: 7 })],
  ['ipvs.timeouts', async () => [1, 2, 3]],
  [
    'drain',
    () => {
      throw new Error('no such endpoint')
    },
  ],
  ['ipvs.capacity', () => 'x'.repeat(CONTROL_LINE_SIZE_MAX)],
])

type Test = { testdir: typeof t.testdir; teardown: typeof t.teardown }

async function serve(t: Test, folder: string = t.testdir({})): Promise<string> {
  const server = await serveControl(folder, HANDLERS, silentLogger)
  t.teardown(() => server.close())
  return folder
}

function raw(folder: string): Promise<Socket> {
  return new Promise((done) => {
    // The folders of these tests are too deep for an address.
    const place = openPlace(folder)
    const socket = connect(place.path, () => done(socket))
    socket.on('close', () => place.close())
  })
}

/** What the other side says until it closes, or until it has said `lines` lines. */
function said(socket: Socket, lines: number = Number.POSITIVE_INFINITY): Promise<string> {
  return new Promise((done) => {
    let text = ''
    socket.on('data', (bytes) => {
      text += bytes
      if (text.split('\n').length > lines) done(text)
    })
    socket.on('close', () => done(text))
    socket.on('error', () => done(text))
  })
}

t.test('questions and answers', async (t) => {
  const folder = await serve(t)
  t.equal(statSync(join(folder, 'control.sock')).mode & 0o777, 0o600)
  const client = await ControlClient.connect(folder)
  t.strictSame(await client.call('ipvs.timeouts', null), [1, 2, 3])
  t.match(await client.call('status', null), { tablesVersion: 7 })
  await t.rejects(client.call('drain', { endpoint: 'x' }), { message: 'no such endpoint' })
  await t.rejects(client.call('ipvs.capacity', null), { message: 'the answer is too long' })
  await t.rejects(client.call('ipvs.zero', { key: null }), { message: 'there is no such verb' })
  t.match(await client.call('status', null), { tablesVersion: 7 }, 'and it goes on')
  client.close()
  await t.rejects(client.call('status', null), /closed/)
})

t.test('requests sent at once are answered in order', async (t) => {
  const socket = await raw(await serve(t))
  const lines = Array.from({ length: 50 }, (_, id) => `{"id":${id},"verb":"status"}\n`)
  socket.write(lines.join(''))
  const replies = (await said(socket, 50)).trim().split('\n')
  t.same(
    replies.map((line) => JSON.parse(line).id),
    lines.map((_, i) => i),
  )
  socket.destroy()
})

t.test('bytes that are no request end the connection, not the server', async (t) => {
  const folder = await serve(t)
  for (const bytes of [
    'hello\n',
    '{}\n',
    '[1]\n',
    'null\n',
    '{"id":"1","verb":"status"}\n',
    '{"id":1}\n',
    '\0\0\0\n',
    `${'x'.repeat(CONTROL_LINE_SIZE_MAX + 1)}\n`,
  ]) {
    const socket = await raw(folder)
    socket.write(bytes)
    t.equal(await said(socket), '', JSON.stringify(bytes.slice(0, 20)))
  }
  const client = await ControlClient.connect(folder)
  t.match(await client.call('status', null), { tablesVersion: 7 })
  client.close()
})

t.test('no more connections than there may be', async (t) => {
  const folder = await serve(t)
  const held = await Promise.all(Array.from({ length: CONTROL_CONNECTIONS_MAX }, () => raw(folder)))
  t.equal(await said(await raw(folder)), '', 'one too many is closed')
  for (const socket of held) socket.destroy()
})

t.test('a socket without a listener is replaced, one with is respected', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'control.sock')
  // What a killed agent leaves: a second name of a socket that nobody listens to any more.
  await new Promise<void>((done) => {
    const stale = createServer()
    stale.listen(`${path}.first`, () => {
      linkSync(`${path}.first`, path)
      stale.close(() => done())
    })
  })
  await serve(t, folder)
  await t.rejects(serveControl(folder, HANDLERS, silentLogger), /another agent runs/)
  const other = t.testdir({ 'control.sock': 'a file' })
  await t.rejects(serveControl(other, HANDLERS, silentLogger), /is in the way: it is no socket/)
})

t.test('nobody there', async (t) => {
  const folder = t.testdir({})
  await t.rejects(ControlClient.connect(folder), /no agent runs with run directory/)
  await t.rejects(ControlClient.connect(join(folder, 'nowhere')), /no agent runs/)
})

t.test('a path too long for a socket address', async (t) => {
  const folder = join(t.testdir({}), 'x'.repeat(120))
  mkdirSync(folder)
  await serve(t, folder)
  const client = await ControlClient.connect(folder)
  t.match(await client.call('status', null), { tablesVersion: 7 })
  client.close()
})

t.test('an agent that goes fails the question under way', async (t) => {
  const folder = t.testdir({})
  let asked: () => void = () => {}
  const reached = new Promise<void>((done) => {
    asked = done
  })
  const never: Handler = () => {
    asked()
    return new Promise(() => {})
  }
  const server = await serveControl(folder, new Map([['status', never]]), silentLogger)
  const client = await ControlClient.connect(folder)
  const answer = client.call('status', null)
  await reached
  await Promise.all([t.rejects(answer, /lost the agent/), server.close()])
})

t.test('lines come in any pieces', async (t) => {
  const text = 'one\ntwo\n\nthree\n'
  for (let size = 1; size <= text.length; size++) {
    const splitter = new LineSplitter(5)
    const lines: string[] = []
    for (let at = 0; at < text.length; at += size) {
      const piece = Buffer.from(text.slice(at, at + size))
      t.equal(
        splitter.push(piece, (line) => lines.push(line)),
        true,
      )
    }
    t.same(lines, ['one', 'two', '', 'three'])
  }
  t.equal(
    new LineSplitter(3).push(Buffer.from('four'), () => {}),
    false,
  )
})
