// Goal: a container gets onto the network of a name, not onto one that was removed and still there.
// Method: two networks of one name in a store.

import t from 'tap'
import { LoopWorld } from '../store/testing/loops.ts'
import { networkObject } from '../store/testing/objects.ts'
import { Attachments } from './attachments.ts'

t.test('two networks of one name', async (t) => {
  const world = new LoopWorld()
  t.teardown(() => world.stop())
  const { store, clock } = world.context
  const attachments = new Attachments({ store, clock, randomBytes: (size) => new Uint8Array(size) })
  const spec = { Name: 'front', Attachable: true }
  const subnets = [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }]
  const allocation = { vni: 4097, subnets }
  await world.add('networks', networkObject('old', spec, { allocation, pendingDelete: true }))
  t.throws(() => attachments.find('front'), { message: 'network front not found' })
  await world.add('networks', networkObject('new', spec, { allocation }))
  t.equal(attachments.find('front').id, 'new')
  t.throws(() => attachments.find('old'), { message: 'network old not found' })
})
