// Goal: a new task carries what its service says. Method: services of each kind.

import t from 'tap'
import { goalOf, newTask } from './new-task.ts'
import { clusterObject, serviceObject, stored, taskSpec } from './testing/objects.ts'

const placed = { id: 't1', slot: 2, nodeId: '', desiredState: 'running', nowMs: 5 } as const

t.test('of a replicated service', async (t) => {
  const Ports = [{ Protocol: 'tcp', TargetPort: 80, PublishMode: 'ingress' }] as const
  const service = stored(serviceObject('web', { Labels: { a: 'b' }, EndpointSpec: { Ports } }))
  t.match(newTask(service, undefined, placed), {
    id: 't1',
    serviceId: 'web',
    slot: 2,
    specVersion: 1,
    serviceAnnotations: { name: 'web', labels: { a: 'b' } },
    endpoint: { spec: { Ports } },
    status: { state: 'new', atMs: 5, message: 'created' },
    jobIteration: null,
    logDriver: null,
  })
})

t.test('of a job', async (t) => {
  const Mode = { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 3 } }
  const service = stored(
    serviceObject('job', { Mode }, { jobStatus: { iteration: 4, lastExecutionMs: 0 } }),
  )
  t.equal(goalOf(service), 'complete')
  t.equal(newTask(service, undefined, placed).jobIteration, 4)
})

t.test('the log driver: its own, else the cluster’s', async (t) => {
  const { spec } = clusterObject()
  const cluster = stored(
    clusterObject({ spec: { ...spec, TaskDefaults: { LogDriver: { Name: 'gelf' } } } }),
  )
  const silent = stored(serviceObject('a'))
  const own = stored(
    serviceObject('b', { TaskTemplate: taskSpec({ LogDriver: { Name: 'none' } }) }),
  )
  t.same(newTask(silent, cluster, placed).logDriver, { Name: 'gelf' })
  t.same(newTask(own, cluster, placed).logDriver, { Name: 'none' })
})
