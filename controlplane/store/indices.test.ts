// Goal: objects are found by what they refer to. Method: keys of literal objects.

import t from 'tap'
import { INDICES, slotKey, UNIQUE_NAMES } from './indices.ts'
import type { NetworkObject, TaskObject } from './objects.ts'

t.test('a slot is a replica, or a node of a global service', async (t) => {
  t.equal(slotKey({ serviceId: 's', slot: 3, nodeId: 'n' }), 's.3')
  t.equal(slotKey({ serviceId: 's', slot: null, nodeId: 'n' }), 's.n')
})

t.test('names are compared without their case', async (t) => {
  const network = { spec: { Name: 'Front' } } as unknown as NetworkObject
  t.same(INDICES.networks.name(network), ['front'])
  t.ok(UNIQUE_NAMES.has('networks'))
  t.notOk(UNIQUE_NAMES.has('nodes'))
})

t.test('a task is found by its secrets and networks', async (t) => {
  const task = {
    networks: [{ networkId: 'n1' }, { networkId: 'n2' }],
    spec: { ContainerSpec: { Secrets: [{ SecretID: 'a' }] } },
  } as unknown as TaskObject
  t.same(INDICES.tasks.network(task), ['n1', 'n2'])
  t.same(INDICES.tasks.secret(task), ['a'])
  t.same(INDICES.tasks.config(task), [])
})
