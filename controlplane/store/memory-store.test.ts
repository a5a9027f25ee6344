// Goal: transactions are all or nothing, in order, the same on every member, and fast. Method: the
// local double, a proposer that fails or waits on request, and random transactions on a leader
// whose entries are replayed on a follower and through a snapshot.

import t from 'tap'
import { manualClock } from '../../base/clock.ts'
import { prng } from '../../base/prng.ts'
import { StoreError, type StoreEvent, type Unversioned } from './contract.ts'
import { isId, newId } from './ids.ts'
import { UPDATES_WAITING_MAX } from './limits.ts'
import { counterBytes, localStore } from './local-store.ts'
import { MemoryStore } from './memory-store.ts'
import type { SecretObject, TaskObject } from './objects.ts'

function secret(id: string, name: string, data = ''): Unversioned<SecretObject> {
  return { id, spec: { Name: name, Labels: {}, Data: data } }
}

function task(id: string, serviceId: string, desiredState: TaskObject['desiredState'] = 'running') {
  return {
    id,
    serviceId,
    slot: 1,
    nodeId: '',
    desiredState,
    networks: [],
    spec: { ForceUpdate: 0, Runtime: 'container' },
    status: { state: 'new' },
  } as unknown as Unversioned<TaskObject>
}

const newStore = () => localStore(manualClock(0, 1000))

/** A proposer that keeps entries until `flush`, or refuses them. */
function heldStore() {
  const held: { bytes: Uint8Array; settle(error?: Error): void }[] = []
  let index = 0
  const store: MemoryStore = new MemoryStore(
    { freezes: true },
    {
      propose: (bytes) =>
        new Promise((resolve, reject) => {
          held.push({
            bytes,
            settle(error) {
              if (error !== undefined) return reject(error)
              index += 1
              store.apply(bytes, index)
              resolve()
            },
          })
        }),
    },
    manualClock(),
    counterBytes(),
  )
  const flush = async () => {
    for (let round = 0; round < 100; round += 1) {
      for (const entry of held.splice(0)) entry.settle()
      await Promise.resolve()
    }
  }
  return { store, held, flush }
}

t.test('ids are 25 characters of base 36', async (t) => {
  t.equal(
    newId(() => new Uint8Array(16)),
    '0'.repeat(25),
  )
  t.equal(
    newId(() => new Uint8Array(16).fill(255)),
    'f5lxx1zz5pnorynqglhzmsp33',
  )
  t.ok(isId('f5lxx1zz5pnorynqglhzmsp33'))
  t.notOk(isId('F5lxx1zz5pnorynqglhzmsp33'))
})

t.test('a transaction becomes visible at once, with its version and times', async (t) => {
  const store = newStore()
  const events: StoreEvent[] = []
  store.watch((event) => events.push(event))
  const result = await store.update((tx) => {
    tx.create('secrets', secret('a', 'Alpha'))
    tx.create('secrets', secret('b', 'beta'))
    t.equal(tx.get('secrets', 'a')?.spec.Name, 'Alpha', 'it sees its own writes')
    t.equal(tx.find('secrets', 'name', 'beta').length, 1)
    t.equal(
      store.view((other) => other.all('secrets').length),
      0,
      'nobody else does',
    )
    return 'returned'
  })
  t.equal(result, 'returned')
  t.equal(store.index, 1)
  const alpha = store.view((tx) => tx.find('secrets', 'name', 'alpha')[0])!
  t.same(alpha.meta, { version: 1, createdMs: 1000, updatedMs: 1000 })
  t.throws(() => {
    ;(alpha.spec as { Name: string }).Name = 'x'
  }, 'objects are frozen')
  t.match(events, [
    { kind: 'changes', index: 1, changes: [{ kind: 'create', table: 'secrets' }, {}] },
  ])
})

t.test('an update needs the version that is stored', async (t) => {
  const store = newStore()
  await store.update((tx) => tx.create('secrets', secret('a', 'a')))
  const old = store.view((tx) => tx.get('secrets', 'a'))!
  await store.update((tx) => tx.update('secrets', { ...old, spec: { ...old.spec, Name: 'b' } }))
  await t.rejects(
    store.update((tx) => tx.update('secrets', old)),
    { code: 'out-of-sequence', message: 'update out of sequence' },
  )
  t.equal(
    store.view((tx) => tx.find('secrets', 'name', 'a').length),
    0,
    'the old key is gone',
  )
  t.equal(
    store.view((tx) => tx.find('secrets', 'name', 'b').length),
    1,
  )
})

t.test('names are taken whatever their case; ids once', async (t) => {
  const store = newStore()
  await store.update((tx) => tx.create('secrets', secret('a', 'Name')))
  await t.rejects(
    store.update((tx) => tx.create('secrets', secret('b', 'nAME'))),
    { code: 'name-conflict' },
  )
  await t.rejects(
    store.update((tx) => tx.create('secrets', secret('a', 'other'))),
    { code: 'exists' },
  )
  await t.rejects(
    store.update((tx) => tx.remove('secrets', 'zz')),
    { code: 'not-found' },
  )
  await store.update((tx) => {
    tx.remove('secrets', 'a')
    tx.create('secrets', secret('b', 'name'))
  })
  t.same(
    store.view((tx) => tx.all('secrets').map(({ id }) => id)),
    ['b'],
  )
})

t.test('a transaction that throws changes nothing', async (t) => {
  const store = newStore()
  let kept: Parameters<Parameters<typeof store.update>[0]>[0] | undefined
  await t.rejects(
    store.update((tx) => {
      kept = tx
      tx.create('secrets', secret('a', 'a'))
      throw new Error('no')
    }),
    { message: 'no' },
  )
  t.equal(store.index, 0)
  t.equal(
    store.view((tx) => tx.all('secrets').length),
    0,
  )
  t.throws(() => kept!.create('secrets', secret('b', 'b')), /is over/)
  await t.rejects(
    store.update(async () => {}),
    /must not await/,
  )
})

t.test('updates that wait share an entry, and see each other in order', async (t) => {
  const { store, held, flush } = heldStore()
  const first = store.update((tx) => tx.create('secrets', secret('a', 'a')))
  await Promise.resolve()
  const order: string[] = []
  const second = store.update((tx) => {
    order.push('second')
    tx.create('secrets', secret('b', 'b'))
  })
  const clash = store.update((tx) => tx.create('secrets', secret('c', 'B')))
  const third = store.update((tx) => {
    order.push('third')
    return tx.find('secrets', 'name', 'b').length
  })
  t.same(order, [], 'nothing runs on what is not applied yet')
  t.equal(held.length, 1)
  const failing = t.rejects(clash, { code: 'name-conflict' })
  await flush()
  await Promise.all([first, second, failing])
  t.equal(await third, 1)
  t.same(order, ['second', 'third'])
  t.equal(store.index, 2, 'two entries for four calls')
})

t.test('a lost entry fails all that share it', async (t) => {
  const { store, held } = heldStore()
  const first = store.update((tx) => tx.create('secrets', secret('a', 'a')))
  const second = store.update((tx) => tx.create('secrets', secret('b', 'b')))
  await Promise.resolve()
  held.shift()!.settle(new StoreError('lost-leadership', 'gone'))
  await t.rejects(first, { code: 'lost-leadership' })
  await t.rejects(second, { code: 'lost-leadership' })
  t.equal(
    store.view((tx) => tx.all('secrets').length),
    0,
  )
})

t.test('an entry computed on an older state is void everywhere', async (t) => {
  const { store, held } = heldStore()
  const other = newStore()
  let foreign: Uint8Array | null = null
  const leader = localStore(manualClock(), undefined, {
    propose: (bytes) => {
      foreign = bytes
    },
  })
  await leader.update((tx) => tx.create('secrets', secret('x', 'x')))
  const mine = store.update((tx) => tx.create('secrets', secret('y', 'X')))
  await Promise.resolve()
  const { bytes } = held[0]!
  store.apply(foreign!, 1)
  other.apply(foreign!, 1)
  other.apply(bytes, 2)
  held.shift()!.settle()
  await t.rejects(mine, { code: 'lost-leadership' })
  t.same(store.snapshot(), other.snapshot())
  t.equal(
    store.view((tx) => tx.all('secrets').length),
    1,
  )
})

t.test('limits: one transaction, and how many wait', async (t) => {
  const store = newStore()
  await t.rejects(
    store.update((tx) => tx.create('secrets', secret('a', 'a', 'x'.repeat(1_600_000)))),
    { code: 'too-large' },
  )
  const large = ['b', 'c', 'd'].map((id) =>
    store.update((tx) => tx.create('secrets', secret(id, id, 'x'.repeat(1_000_000)))),
  )
  await Promise.all(large)
  t.equal(
    store.view((tx) => tx.all('secrets').length),
    3,
  )
  const { store: stuck, flush } = heldStore()
  const waiting = Array.from({ length: UPDATES_WAITING_MAX }, () => stuck.update(() => 1))
  await t.rejects(
    stuck.update(() => 1),
    { code: 'overloaded' },
  )
  await flush()
  await Promise.all(waiting)
})

t.test('a batch leaves out the steps that throw', async (t) => {
  const store = newStore()
  const errors: number[] = []
  const steps = Array.from(
    { length: 5_000 },
    (_, at) => (tx: Parameters<Parameters<typeof store.update>[0]>[0]) => {
      tx.create('secrets', secret(`id${at}`, `name${at % 4_990}`))
    },
  )
  await store.batch(steps, (step) => errors.push(step))
  t.equal(
    store.view((tx) => tx.all('secrets').length),
    4_990,
  )
  t.same(errors, [4990, 4991, 4992, 4993, 4994, 4995, 4996, 4997, 4998, 4999])
  t.ok(store.index > 1, `${store.index} entries`)
  await store.batch([])
})

t.test('random transactions: leader, follower and snapshot are equal', async (t) => {
  const seed = Number(process.env.WEFT_FUZZ_SEED ?? 1)
  const random = prng(seed)
  const below = (max: number) => random.below(max)
  const entries: [Uint8Array, number][] = []
  const leader = localStore(manualClock(0, 5), undefined, {
    propose: (bytes, index) => void entries.push([bytes, index]),
  })
  const model = new Map<string, string>()
  for (let round = 0; round < 400; round += 1) {
    const updates = Array.from({ length: 1 + below(4) }, () =>
      leader
        .update((tx) => {
          const mine = new Map(model)
          for (let write = below(5); write >= 0; write -= 1) {
            const id = `i${below(30)}`
            const name = `n${below(25)}`
            const current = tx.get('secrets', id)
            t.equal(current?.spec.Name, mine.get(id), `seed ${seed}`)
            const holders = [...mine].filter(([, held]) => held === name).map(([held]) => held)
            t.equal(
              tx.find('secrets', 'name', name)[0]?.id,
              [...mine].find(([, n]) => n === name)?.[0],
            )
            if (holders.length > 1) throw new Error('the model has a name twice')
            if (current === undefined) tx.create('secrets', secret(id, name))
            else if (below(3) === 0) tx.remove('secrets', id)
            else tx.update('secrets', { ...current, spec: { ...current.spec, Name: name } })
            if (tx.get('secrets', id) === undefined) mine.delete(id)
            else mine.set(id, name)
          }
          if (below(5) === 0) throw new Error('changed my mind')
          t.equal(tx.all('secrets').length, mine.size)
          model.clear()
          for (const [id, name] of mine) model.set(id, name)
        })
        .catch((error) => t.match(error.message, /changed my mind|name conflicts/)),
    )
    await Promise.all(updates)
  }
  const follower = newStore()
  for (const [bytes, index] of entries) follower.apply(bytes, index)
  t.same(Buffer.from(follower.snapshot()), Buffer.from(leader.snapshot()))
  const third = newStore()
  const events: StoreEvent[] = []
  third.watch((event) => events.push(event))
  third.restore(leader.snapshot())
  t.same(Buffer.from(third.snapshot()), Buffer.from(leader.snapshot()))
  t.same(events, [{ kind: 'reset', index: leader.index }])
  t.same(new Map(third.view((tx) => tx.all('secrets').map((s) => [s.id, s.spec.Name]))), model)
  const [id, name] = [...model][0]!
  t.equal(
    third.view((tx) => tx.find('secrets', 'name', name)[0]?.id),
    id,
    'indices as well',
  )
})

t.test('bytes that are no entry or snapshot are refused', async (t) => {
  const store = newStore()
  const bytes = (text: string) => new TextEncoder().encode(text)
  t.throws(() => store.apply(bytes('{"format":9}'), 1), /unknown format 9/)
  t.throws(() => store.apply(bytes('{"format":1,"actions":[["create","ghosts",{}]]}'), 1))
  t.throws(() => store.restore(bytes('')), /empty/)
  t.throws(() => store.restore(store.snapshot().subarray(0, -1)), /middle of a line/)
})

t.test('tens of thousands of tasks', async (t) => {
  const store = localStore(manualClock(), undefined, { freezes: false })
  const COUNT = 30_000
  let wrong = 0
  await store.batch(
    Array.from({ length: COUNT }, (_, at) => (tx) => {
      tx.create('tasks', task(`t${at}`, `s${at % 1000}`))
    }),
  )
  t.equal(
    store.view((tx) => tx.find('tasks', 'service', 's7').length),
    30,
  )
  await store.batch(
    Array.from({ length: COUNT }, (_, at) => (tx) => {
      const read = tx.get('tasks', `t${at}`)!
      if (tx.find('tasks', 'service', read.serviceId).length !== 30) wrong += 1
      tx.update('tasks', { ...read, nodeId: `n${at % 100}` })
    }),
  )
  t.equal(wrong, 0, 'find() in the transaction')
  t.equal(
    store.view((tx) => tx.find('tasks', 'node', 'n7').length),
    COUNT / 100,
  )
  t.equal(
    store.view((tx) => tx.find('tasks', 'node', '').length),
    0,
  )
})
