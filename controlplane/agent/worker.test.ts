// Goal: a task goes through its states as the cluster wants it to, whatever fails, and a restarted
// agent takes over what runs. Method: the worker over an executor in memory that outlives it.

import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { silentLogger } from '../../base/log.ts'
import { manualTimers } from '../../base/timers.ts'
import type { TaskStatus } from '../store/objects.ts'
import { parseDrainTimeout } from './drain-timeout.ts'
import { TaskError } from './executor.ts'
import { DEPENDENCIES_MS_MAX } from './limits.ts'
import { forgetfulMemory, TaskDb, type TaskMemory } from './task-db.ts'
import { firstStatus, nextAction } from './task-machine.ts'
import { FakeExecutor } from './testing/fake-executor.ts'
import { assignment, task, until } from './testing/tasks.ts'
import { Worker } from './worker.ts'

interface Node {
  readonly worker: Worker
  readonly executor: FakeExecutor
  readonly timers: ReturnType<typeof manualTimers>
  readonly told: (readonly [string, TaskStatus])[]
  /** How often the tables were to follow. */
  readonly tables: () => number
  readonly states: (id: string) => string[]
  readonly state: (id: string) => string | undefined
}

function node(memory: TaskMemory = forgetfulMemory(), executor = new FakeExecutor()): Node {
  const timers = manualTimers()
  const told: (readonly [string, TaskStatus])[] = []
  let tables = 0
  const worker = new Worker({
    executor,
    memory,
    clock: timers.clock,
    timers,
    log: silentLogger,
    node: { id: 'node1', hostname: 'node' },
    onStatus: (id, status) => told.push([id, status]),
    onTables: () => {
      tables++
    },
    isNetworked: () => true,
  })
  worker.start()
  const states = (id: string): string[] => {
    const all = told.filter(([of]) => of === id).map(([, status]) => status.state)
    return all.filter((state, i) => state !== all[i - 1])
  }
  const state = (id: string): string | undefined => worker.tasks.get(id)?.status.state
  return { worker, executor, timers, told, tables: () => tables, states, state }
}

const UP = ['accepted', 'preparing', 'ready', 'starting', 'running']

t.test('a task runs and is stopped', async (t) => {
  const { worker, states, state, executor, tables } = node()
  worker.assign(assignment([task('a')]), new Map())
  await until(() => state('a') === 'running')
  t.same(states('a'), UP)
  t.equal(tables(), 2, 'the tables follow as it comes and as its interfaces are told')
  worker.assign(assignment([task('a', { desiredState: 'shutdown' })]), null)
  await until(() => state('a') === 'shutdown')
  t.equal(tables(), 3, 'and as it is over')
  t.equal(executor.bodies.get('a')?.state, 'exited')
  worker.assign(assignment([]), null)
  await until(() => worker.tasks.size === 0)
  t.equal(executor.bodies.size, 0, 'nothing is left')
  await worker.close()
})

t.test('a task that is to be ready waits, then runs', async (t) => {
  const { worker, state, executor } = node()
  worker.assign(assignment([task('a', { desiredState: 'ready' })]), new Map())
  await until(() => state('a') === 'ready')
  t.notOk(executor.calls.includes('start a'))
  worker.assign(assignment([task('a')]), null)
  await until(() => state('a') === 'running')
  await worker.close()
})

t.test('failures', async (t) => {
  await t.test('before the start it is rejected', async (t) => {
    const { worker, executor, state } = node()
    executor.failures.set('prepare', new TaskError('No such image: img'))
    worker.assign(assignment([task('a')]), new Map())
    await until(() => state('a') === 'rejected')
    const { error, message } = worker.tasks.get('a')!.status
    t.same([error, message], ['No such image: img', 'preparing'])
    await worker.close()
  })
  await t.test('a process that ends with a status has failed with it', async (t) => {
    const { worker, executor, state } = node()
    worker.assign(assignment([task('a')]), new Map())
    await until(() => executor.calls.includes('wait a'))
    executor.exit('a', new TaskError('task: non-zero exit (3)', { exitCode: 3 }))
    await until(() => state('a') === 'failed')
    const { error, container, isServing } = worker.tasks.get('a')!.status
    t.same([error, container?.exitCode, isServing], ['task: non-zero exit (3)', 3, false])
    await worker.close()
  })
  await t.test('one that ends well is complete', async (t) => {
    const { worker, executor, state } = node()
    worker.assign(assignment([task('a', { desiredState: 'complete' })]), new Map())
    await until(() => executor.calls.includes('wait a'))
    executor.exit('a')
    await until(() => state('a') === 'complete')
    t.equal(worker.tasks.get('a')!.status.container?.exitCode, 0)
    await worker.close()
  })
  await t.test('a passing failure is tried again, and told meanwhile', async (t) => {
    const { worker, executor, state, timers } = node()
    executor.failures.set('prepare', new TaskError('registry is away', { temporary: true }))
    worker.assign(assignment([task('a')]), new Map())
    await until(() => worker.tasks.get('a')!.status.error === 'registry is away')
    t.equal(state('a'), 'preparing')
    await until(() => timers.size > 0)
    timers.advance(1000)
    await until(() => state('a') === 'running')
    t.equal(worker.tasks.get('a')!.status.error, '')
    await worker.close()
  })
  await t.test('a task that got unhealthy does not run on', async (t) => {
    const { worker, executor, state } = node()
    executor.failures.set('wait', new TaskError('unhealthy container'))
    worker.assign(assignment([task('a')]), new Map())
    await until(() => state('a') === 'failed')
    t.equal(executor.bodies.get('a')?.state, 'exited')
    await worker.close()
  })
  await t.test('what is left of a task is removed in the end', async (t) => {
    const { worker, executor, state, timers } = node()
    worker.assign(assignment([task('a')]), new Map())
    await until(() => state('a') === 'running')
    executor.failures.set('remove', new Error('device busy'))
    worker.assign(assignment([]), null)
    await until(() => executor.calls.includes('remove a') && timers.size > 0)
    timers.advance(1000)
    await until(() => worker.tasks.size === 0)
    t.equal(executor.bodies.size, 0)
    await worker.close()
  })
})

t.test('a task that is sick gets no new flows while it is stopped', async (t) => {
  const { worker, executor, state, told } = node()
  worker.assign(assignment([task('a')]), new Map())
  await until(() => state('a') === 'running')
  const manager = worker.tasks.get('a')!
  t.notOk(manager.isDraining)
  executor.sick.add('a')
  manager.refresh()
  t.ok(manager.isDraining)
  t.match(told.at(-1)?.[1], { state: 'running', isServing: false }, 'and everybody is told')
  executor.exit('a', new TaskError('unhealthy container'))
  await until(() => state('a') === 'failed')
  await worker.close()
})

t.test('a step under way is given up when something else is wanted', async (t) => {
  const { worker, executor, state } = node()
  executor.held.add('prepare')
  worker.assign(assignment([task('a')]), new Map())
  await until(() => executor.calls.includes('prepare a'))
  worker.assign(assignment([task('a', { desiredState: 'shutdown' })]), null)
  await until(() => state('a') === 'shutdown')
  t.notOk(executor.calls.includes('run a'))
  await worker.close()
})

t.test('a task to be stopped never runs again', async (t) => {
  const { worker, executor, state } = node()
  executor.held.add('shutdown')
  worker.assign(assignment([task('a')]), new Map())
  await until(() => state('a') === 'running')
  worker.assign(assignment([task('a', { desiredState: 'shutdown' })]), null)
  await until(() => executor.calls.includes('shutdown a'))
  worker.assign(assignment([task('a')]), null)
  executor.held.clear()
  executor.kick()
  await until(() => state('a') === 'shutdown')
  t.pass()
  await worker.close()
})

const NEEDS_SECRET = {
  ContainerSpec: { Image: 'img', Secrets: [{ SecretID: 's1', SecretName: 'pw' }] },
  ForceUpdate: 0,
  Runtime: 'container' as const,
}

t.test('a secret that does not come', async (t) => {
  const { worker, state, timers } = node()
  worker.assign(assignment([task('a', { spec: NEEDS_SECRET })]), new Map())
  await until(() => state('a') === 'preparing')
  timers.advance(DEPENDENCIES_MS_MAX - 1)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(state('a'), 'preparing', 'it may come yet')
  timers.advance(1)
  await until(() => state('a') === 'rejected')
  t.equal(worker.tasks.get('a')?.status.error, 'secret pw is not available')
  await worker.close()
})

t.test('secrets come before the task is prepared', async (t) => {
  const { worker, executor, state } = node()
  worker.assign(assignment([task('a', { spec: NEEDS_SECRET })]), new Map())
  await until(() => state('a') === 'preparing')
  t.notOk(executor.calls.includes('prepare a'))
  const secret = { id: 's1', name: 'pw', data: 'eA==', templating: null }
  worker.assign(assignment([task('a', { spec: NEEDS_SECRET })], { secret: [['s1', secret]] }), null)
  await until(() => state('a') === 'running')
  await worker.close()
})

t.test('flows are granted their time once a draining task is quiet', async (t) => {
  const networks = [{ networkId: 'n1', addresses: ['10.0.1.3/24'], aliases: [] }]
  const labels = { 'weft.drain-timeout': '500ms' }
  const short = { networks, serviceAnnotations: { name: 'web', labels } }
  const { worker, state, timers } = node()
  worker.assign(assignment([task('a', short)]), new Map())
  await until(() => state('a') === 'running')
  const ending = [task('a', { ...short, desiredState: 'shutdown' })]
  worker.assign(assignment(ending), null)
  await until(() => timers.size > 0)
  timers.advance(5_000)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(state('a'), 'running', 'a node may still give it flows')
  const drained = [['a', { taskId: 'a', isIdle: false }] as const]
  worker.assign(assignment(ending, { drained }), null)
  await new Promise((resolve) => setImmediate(resolve))
  timers.advance(499)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(state('a'), 'running')
  timers.advance(1)
  await until(() => state('a') === 'shutdown')
  await worker.close()
})

t.test('a node that leaves waits for the word of managers, where there are any', async (t) => {
  const networks = [{ networkId: 'n1', addresses: ['10.0.1.3/24'], aliases: [] }]
  for (const hasManagers of [true, false]) {
    const { worker, executor, timers } = node()
    worker.assign(assignment([task('a', { networks })]), new Map())
    await until(() => executor.calls.includes('wait a'))
    const leaving = worker.removeAll(60_000, hasManagers)
    if (hasManagers) {
      await until(() => worker.tasks.get('a')!.isDraining && timers.size > 1)
      t.equal(executor.bodies.get('a')?.state, 'running')
      timers.advance(9_999)
      timers.advance(1)
    }
    await leaving
    t.ok(executor.calls.includes('remove a'))
    await worker.close()
  }
})

t.test('draining', async (t) => {
  const networks = [{ networkId: 'n1', addresses: ['10.0.1.3/24'], aliases: [] }]
  const up = task('a', { networks })
  const down = task('a', { networks, desiredState: 'shutdown' })

  await t.test('waits for the word that everybody knows', async (t) => {
    const { worker, executor, state, timers } = node()
    worker.assign(assignment([up]), new Map())
    await until(() => executor.calls.includes('wait a'))
    worker.assign(assignment([down]), null)
    await until(() => worker.tasks.get('a')!.isDraining)
    t.equal(worker.tasks.get('a')!.status.isServing, false)
    t.equal(executor.bodies.get('a')?.state, 'running')
    t.equal(timers.size, 1)
    const drained = [['a', { taskId: 'a', isIdle: true }] as const]
    worker.assign(assignment([down], { drained }), null)
    await until(() => state('a') === 'shutdown')
    t.equal(timers.size, 0)
    await worker.close()
  })
  await t.test('does without it after a time', async (t) => {
    const { worker, state, timers } = node()
    worker.assign(assignment([up]), new Map())
    await until(() => state('a') === 'running')
    worker.assign(assignment([down]), null)
    await until(() => timers.size > 0)
    timers.advance(9_999)
    t.equal(state('a'), 'running')
    timers.advance(1)
    await until(() => state('a') === 'shutdown')
    await worker.close()
  })
  await t.test('a process that ends meanwhile is not waited for', async (t) => {
    const { worker, executor, state, timers } = node()
    worker.assign(assignment([up]), new Map())
    await until(() => executor.calls.includes('wait a'))
    worker.assign(assignment([down]), null)
    await until(() => executor.calls.filter((call) => call === 'wait a').length === 2)
    executor.exit('a')
    await until(() => state('a') === 'shutdown')
    t.equal(timers.size, 0)
    await worker.close()
  })
  await t.test('a service may do without', async (t) => {
    const { worker, executor, state, timers } = node()
    const serviceAnnotations = { name: 'web', labels: { 'weft.drain-timeout': '0' } }
    worker.assign(assignment([{ ...up, serviceAnnotations }]), new Map())
    await until(() => executor.calls.includes('wait a'))
    worker.assign(assignment([{ ...down, serviceAnnotations }]), null)
    await until(() => state('a') === 'shutdown')
    t.equal(timers.size, 0)
    await worker.close()
  })
  await t.test('the label', async (t) => {
    t.same(['30s', '2m', '500ms', '0', '1.5s'].map(parseDrainTimeout), [3e4, 12e4, 500, 0, 1500])
    t.same(['', '5', 'x', '-1s', undefined].map(parseDrainTimeout), [null, null, null, null, null])
    t.equal(parseDrainTimeout('999h'), 3_600_000)
  })
})

t.test('a restarted agent', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-worker-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'worker.db')
  const executor = new FakeExecutor()
  const first = node(new TaskDb(file, silentLogger), executor)
  first.worker.assign(assignment([task('a'), task('b'), task('c')]), new Map())
  await until(() => ['a', 'b', 'c'].every((id) => executor.calls.includes(`wait ${id}`)))
  await first.worker.close()
  t.equal(statSync(file).mode & 0o777, 0o600)
  executor.exit('b', new TaskError('task: non-zero exit (1)', { exitCode: 1 }))
  executor.bodies.set('stranger', { state: 'exited', exit: null })

  const runs = executor.calls.filter((call) => call.startsWith('run')).length
  const second = node(new TaskDb(file, silentLogger), executor)
  t.equal(second.state('a'), 'running')
  await until(() => second.state('b') === 'failed')
  t.equal(executor.bodies.get('c')?.state, 'running', 'without a manager, tasks go on')
  second.worker.assign(assignment([task('a'), task('b')]), new Map())
  await until(() => !executor.bodies.has('c') && !executor.bodies.has('stranger'))
  t.equal(executor.calls.filter((call) => call.startsWith('run')).length, runs, 'none ran again')
  await second.worker.close()

  writeFileSync(file, 'not a database')
  rmSync(`${file}-wal`, { force: true })
  const third = node(new TaskDb(file, silentLogger), executor)
  t.ok(existsSync(`${file}.unreadable`))
  third.worker.assign(assignment([task('a')]), new Map([['a', 'running']]))
  await until(() => executor.calls.filter((call) => call === 'wait a').length === 3)
  t.equal(third.state('a'), 'running', 'taken over at what the cluster knew')
  t.equal(executor.calls.filter((call) => call.startsWith('run')).length, runs)
  await third.worker.close()
})

t.test('on a disk that takes nothing, tasks come and go all the same', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-worker-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'worker.db')
  const { worker, state } = node(new TaskDb(file, silentLogger))
  worker.assign(assignment([task('a')]), new Map())
  await until(() => state('a') === 'running')
  const other = new DatabaseSync(file)
  other.exec('BEGIN EXCLUSIVE')
  worker.assign(assignment([task('b')]), null)
  await until(() => state('b') === 'running' && state('a') === undefined)
  other.close()
  worker.assign(assignment([task('b'), task('c')]), null)
  await until(() => state('c') === 'running')
  await worker.close()
  const again = new TaskDb(file, silentLogger)
  t.ok(
    again.load().some((one) => one.task.id === 'c'),
    'written again',
  )
  again.close()
  const none = new TaskDb(folder, silentLogger)
  none.put(task('d'), firstStatus('assigned', 0))
  t.equal(none.load().length, 1, 'one that cannot be opened is done without')
  none.close()
  t.ok(existsSync(folder), 'and left where it is')
})

t.test('credentials and secrets are not on the disk', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-worker-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const memory = new TaskDb(join(folder, 'worker.db'), silentLogger)
  const container = { Image: 'img', PullOptions: { RegistryAuth: 'geheim' } }
  const spec = { ContainerSpec: container, ForceUpdate: 0, Runtime: 'container' as const }
  const { worker, state } = node(memory)
  worker.assign(assignment([task('a', { spec })]), new Map())
  await until(() => state('a') === 'running')
  t.notMatch(JSON.stringify(memory.load()), 'geheim')
  t.equal(worker.tasks.get('a')!.task.spec.ContainerSpec?.PullOptions?.RegistryAuth, 'geheim')
  await worker.close()
})

t.test('the table never leads back', async (t) => {
  t.equal(nextAction('running', 'shutdown'), 'shutdown')
  t.equal(nextAction('failed', 'running'), 'nothing')
  t.equal(nextAction('ready', 'ready'), 'nothing')
  t.equal(nextAction('accepted', 'remove'), 'shutdown')
  t.equal(nextAction('running', 'complete'), 'wait')
})

t.test('a node that leaves takes nothing on any more', async (t) => {
  const { worker, executor, state } = node()
  worker.assign(assignment([task('a'), task('b')]), new Map())
  await until(() => state('a') === 'running' && state('b') === 'running')
  executor.held.add('remove b')
  const left = worker.removeAll(10_000, false)
  await until(() => !executor.bodies.has('a') && executor.calls.includes('remove b'))
  // The managers do not know yet, and give it what replaces them.
  worker.assign(assignment([task('a'), task('b'), task('c')]), new Map())
  executor.held.clear()
  executor.kick()
  await left
  await new Promise((resolve) => setImmediate(resolve))
  await worker.close()
  t.same([...executor.bodies.keys()], [], 'nothing runs on')
  t.notOk(executor.calls.includes('prepare c'))
})
