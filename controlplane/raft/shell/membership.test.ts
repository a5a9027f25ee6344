// Goal: no request can bring the membership into a state that the cluster cannot leave. Method: the
// planning alone, request by request; books and contexts through their bytes, good and bad.

import t from 'tap'
import { EMPTY_CONF_STATE, type NodeId } from '../messages.ts'
import type { ProgressStatus } from '../progress.ts'
import { decodeContext, encodeContext, joinSnapshot, MemberBook, splitSnapshot } from './members.ts'
import { type ChangeRequest, checkAddress, planChange } from './membership.ts'

const SELF = 1
const CONFIG = { ...EMPTY_CONF_STATE, voters: [1, 2, 3], learners: [4] }

function address(id: NodeId) {
  return { id, address: `host${id}:1`, nodeId: `node${id}` }
}

function book(): MemberBook {
  const made = new MemberBook()
  for (const id of [1, 2, 3, 4, 9]) made.put(address(id))
  made.remove(9)
  return made
}

function progress(active: readonly NodeId[]): ProgressStatus[] {
  return [1, 2, 3, 4].map((id) => ({
    id,
    state: 'replicate',
    match: 1,
    next: 2,
    learner: id === 4,
    paused: false,
    pendingSnapshot: 0,
    recentActive: active.includes(id),
    reachable: active.includes(id),
    inflightMessages: 0,
    inflightFull: false,
  }))
}

function plan(request: ChangeRequest, active: readonly NodeId[] = [1, 2, 3, 4]) {
  return planChange(request, book(), CONFIG, progress(active), SELF)
}

t.test('what can be done', async (t) => {
  const cases: [ChangeRequest, string, number][] = [
    [{ kind: 'add-learner', member: address(5) }, 'add-learner', 5],
    [{ kind: 'add-voter', member: address(5) }, 'add-voter', 5],
    [{ kind: 'promote', id: 4 }, 'add-voter', 4],
    [{ kind: 'demote', id: 3 }, 'add-learner', 3],
    [{ kind: 'remove', id: 3 }, 'remove', 3],
    [{ kind: 'remove', id: 4 }, 'remove', 4],
    [{ kind: 'move', id: 2, address: '[fd00::1]:77' }, 'update', 2],
  ]
  for (const [request, type, nodeId] of cases) {
    t.same(plan(request).changes, [{ type, nodeId }], request.kind)
  }
  t.same(plan({ kind: 'remove', id: 3, force: true }, [1]).changes[0]?.nodeId, 3)
})

t.test('what cannot', async (t) => {
  const cases: [ChangeRequest, RegExp][] = [
    [{ kind: 'add-voter', member: address(2) }, /voter already/],
    [{ kind: 'add-voter', member: address(9) }, /was removed/],
    [{ kind: 'add-voter', member: { ...address(5), address: 'host2:1' } }, /another member/],
    [{ kind: 'add-voter', member: { ...address(5), address: 'host5' } }, /no address/],
    [{ kind: 'add-voter', member: { ...address(5), nodeId: '' } }, /has a node/],
    [{ kind: 'add-learner', member: address(0) }, /no id/],
    [{ kind: 'promote', id: 3 }, /no learner/],
    [{ kind: 'demote', id: 4 }, /no voter/],
    [{ kind: 'demote', id: 1 }, /hands over/],
    [{ kind: 'remove', id: 7 }, /no member/],
    [{ kind: 'remove', id: 1 }, /hands over/],
    [{ kind: 'move', id: 7, address: 'a:1' }, /no member/],
    [{ kind: 'move', id: 2, address: 'host3:1' }, /another member/],
  ]
  for (const [request, message] of cases) {
    t.throws(() => plan(request), { code: 'bad-change', message }, JSON.stringify(request))
  }
  t.throws(() => plan({ kind: 'remove', id: 3 }, [1, 3]), { message: /only 1 of 2 voters/ })
  t.ok(plan({ kind: 'remove', id: 3 }, [1, 2]), 'the one that is gone can be removed')
  const lone = { ...EMPTY_CONF_STATE, voters: [1] }
  const remove = { kind: 'remove', id: 2 } as const
  t.throws(() => planChange({ ...remove, id: 1 }, book(), lone, progress([1]), SELF), /last voter/)
})

t.test('addresses', async (t) => {
  for (const good of ['a:1', 'host.example:65535', '10.0.0.1:2377', '[::1]:2377']) {
    t.equal(checkAddress(good), good)
  }
  const long = `${'a'.repeat(300)}:1`
  for (const bad of ['', 'a', ':1', 'a:0', 'a:65536', 'a:01', '::1:1', 'a b:1', 'a:1\n', long]) {
    t.throws(() => checkAddress(bad), { code: 'bad-change' }, JSON.stringify(bad))
  }
})

t.test('books and contexts keep what they were given', async (t) => {
  const members = [address(1), address(2)]
  t.same(decodeContext(encodeContext(members)), members)
  for (const bad of ['', 'x', '{}', '[1]', '[{"id":0}]', '[{"id":1,"address":1,"nodeId":"a"}]']) {
    t.same(decodeContext(new TextEncoder().encode(bad)), [], JSON.stringify(bad))
  }
  const made = book()
  const machine = new Uint8Array([1, 2, 3])
  const again = splitSnapshot(joinSnapshot(made, machine))
  t.same(again.book.all(), made.all())
  t.same([...again.book.removed()], [9])
  t.same(again.machine, machine)
  t.equal(splitSnapshot(joinSnapshot(made, null)).machine, null)
  const bytes = joinSnapshot(made, machine)
  for (let size = 0; size < bytes.length - 3; size++) {
    t.throws(() => splitSnapshot(bytes.subarray(0, size)), RangeError)
  }
  made.follow({ ...EMPTY_CONF_STATE, voters: [1, 2] })
  t.same([...made.removed()], [9, 3, 4])
})
