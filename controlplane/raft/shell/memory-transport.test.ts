// Goal: the double keeps the transport's contract, so that what is proven on it holds for the real
// one. Method: two members on a hub; messages that arrive, that cannot, that come from a removed
// member.

import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { makeMessage, type NodeId } from '../messages.ts'
import { MemoryHub } from './memory-transport.ts'
import type { TransportHandlers } from './transport-contract.ts'

function recorder(log: string[]): TransportHandlers {
  return {
    onMessage: ({ type, from }) => log.push(`${type} from ${from}`),
    onUnreachable: (id) => log.push(`unreachable ${id}`),
    onSnapshotReport: (id, delivered) => log.push(`snapshot ${id} ${delivered}`),
    onRemoved: () => log.push('removed'),
  }
}

function pair(): { hub: MemoryHub; send: (type: 'MsgApp' | 'MsgSnap', to: NodeId) => void } & {
  one: ReturnType<MemoryHub['join']>
  two: ReturnType<MemoryHub['join']>
  log1: string[]
  log2: string[]
} {
  const hub = new MemoryHub()
  const [one, two] = [hub.join(1, 'a'), hub.join(2, 'b')]
  const [log1, log2]: string[][] = [[], []]
  one.start(recorder(log1!))
  two.start(recorder(log2!))
  one.setPeers(new Map([[2, 'b']]))
  const send = (type: 'MsgApp' | 'MsgSnap', to: NodeId): void =>
    one.send(makeMessage(type, to, { from: 1, term: 1 }))
  return { hub, send, one, two, log1: log1!, log2: log2! }
}

t.test('messages arrive later, and at their receiver', async (t) => {
  const { send, log1, log2 } = pair()
  send('MsgApp', 2)
  t.same(log2, [], 'not at once')
  send('MsgApp', 3)
  await setImmediate()
  await setImmediate()
  t.same(log2, ['MsgApp from 1'])
  t.same(log1, ['unreachable 3'])
})

t.test('the fate of a snapshot is reported, and who cannot be reached', async (t) => {
  const { hub, send, one, log1 } = pair()
  send('MsgSnap', 2)
  await setImmediate()
  t.same(log1, ['snapshot 2 true'])
  hub.cut('a', 'b', true)
  send('MsgSnap', 2)
  await setImmediate()
  t.same(log1.slice(1), ['snapshot 2 false', 'unreachable 2'])
  t.equal(one.peers()[0]?.dropped, 1)
  t.equal(one.peers()[0]?.connected, false)
  await t.rejects(one.probe('b', 100), /nobody answers at b/)
  hub.cut('a', 'b', false)
  t.same(await one.probe('b', 100), { id: 2 })
})

t.test('a removed member is told, a closed one hears nothing', async (t) => {
  const { send, two, log1, log2 } = pair()
  two.setRemoved(new Set([1]))
  send('MsgApp', 2)
  await setImmediate()
  t.same(log1, ['removed', 'unreachable 2'])
  two.setRemoved(new Set())
  await two.close()
  send('MsgApp', 2)
  await setImmediate()
  t.same(log2, [])
})
