// Goal: a task is dirty exactly when its service asks for something else. Method: one change each.

import t from 'tap'
import type { TaskState } from './objects.ts'
import type { ServiceSpec } from './specs.ts'
import { isTaskDirty } from './task-dirty.ts'
import { nodeObject, serviceSpec, stored, taskObject, taskSpec } from './testing/objects.ts'

const node = stored(nodeObject('n1'))
const task = stored(taskObject('t1', { nodeId: 'n1' }))
const at = (state: TaskState) => ({ ...task, status: { ...task.status, state } })
const service = (spec: Partial<ServiceSpec>, specVersion = 2) => ({
  spec: serviceSpec('web', spec),
  specVersion,
})
const pulled = taskSpec({ ContainerSpec: { Image: 'web:1', PullOptions: { RegistryAuth: 'x' } } })

t.test('same version, same template: clean', async (t) => {
  t.notOk(isTaskDirty(service({ TaskTemplate: taskSpec({ ForceUpdate: 1 }) }, 1), task, node))
  t.notOk(isTaskDirty(service({}), task, node))
  t.notOk(isTaskDirty(service({ Mode: { Replicated: { Replicas: 9 } } }), task, node))
  t.notOk(isTaskDirty(service({ Labels: { a: 'b' } }), task, node))
})

t.test('another template or other ports: dirty', async (t) => {
  t.ok(isTaskDirty(service({ TaskTemplate: taskSpec({ ForceUpdate: 1 }) }), task, node))
  const Ports = [{ Protocol: 'tcp', TargetPort: 80, PublishMode: 'ingress' }] as const
  t.ok(isTaskDirty(service({ EndpointSpec: { Ports } }), task, node))
  const image = taskSpec({ ContainerSpec: { Image: 'web:2' } })
  t.ok(isTaskDirty(service({ TaskTemplate: image }), at('running'), node))
})

t.test('credentials matter only until the image is there', async (t) => {
  t.ok(isTaskDirty(service({ TaskTemplate: pulled }), at('preparing'), node))
  t.notOk(isTaskDirty(service({ TaskTemplate: pulled }), at('running'), node))
  t.ok(isTaskDirty(service({ TaskTemplate: pulled }), at('failed'), node))
})

t.test('constraints alone matter if the node does not meet them', async (t) => {
  const to = (id: string) => taskSpec({ Placement: { Constraints: [`node.id==${id}`] } })
  t.notOk(isTaskDirty(service({ TaskTemplate: to('n1') }), task, node))
  t.ok(isTaskDirty(service({ TaskTemplate: to('n2') }), task, node))
  t.ok(isTaskDirty(service({ TaskTemplate: to('n1') }), task, undefined))
  const more = { ...to('n1'), ForceUpdate: 1 }
  t.ok(isTaskDirty(service({ TaskTemplate: more }), task, node))
})
