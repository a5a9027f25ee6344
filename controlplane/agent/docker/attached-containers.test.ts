// Goal: the address of a user's container is given back, also when no manager was in reach as the
// engine let go of it. Method: an engine without networks, events by hand, a cluster that answers
// when it likes.

import type Docker from 'dockerode'
import t from 'tap'
import { silentLogger } from '../../../base/log.ts'
import { task } from '../testing/tasks.ts'
import { AttachedContainers, type AttachedParts } from './attached-containers.ts'
import type { NetworkDriver } from './network-driver.ts'

t.test('an attachment that no manager hears of goes when one is there again', async (t) => {
  let happens = (): void => {}
  let isReachable = false
  const detached: string[] = []
  const attached = new AttachedContainers({
    docker: { listNetworks: async () => [] } as unknown as Docker,
    events: {
      watch: (_: string, wake: () => void) => {
        happens = wake
        return () => {}
      },
    } as unknown as AttachedParts['events'],
    networks: { use: () => {}, release: async () => {} } as unknown as AttachedParts['networks'],
    calls: {
      attach: async () => 'a1',
      detach: async (taskId) => {
        if (!isReachable) throw new Error('no manager is in reach')
        detached.push(taskId)
      },
    },
    internal: () => false,
    macOf: () => '02:42:0a:00:01:09',
    log: silentLogger,
  })
  t.teardown(() => attached.close())
  await attached.open({ expect: () => {}, forget: () => {} } as unknown as NetworkDriver)
  const networks = [{ networkId: 'n1', addresses: ['10.0.1.9/24'], aliases: [] }]
  attached.controller(task('a1', { networks }), {
    secret: () => undefined,
    config: () => undefined,
    node: { id: 'node1', hostname: 'h1' },
    changed: () => {},
    networked: () => Promise.resolve(),
  })
  await attached.detach('n2', '10.0.1.9')
  await attached.detach('n1', '10.0.1.9')
  isReachable = true
  t.same(detached, [])
  happens()
  // Not after the time for which a container may be away.
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  t.same(detached, ['a1'])
})
