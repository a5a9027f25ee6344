// Goal: tasks go where the rules of spread.ts say. Method: small clusters by hand, and a random
// comparison of the heap with a plain search for the best node.

import t from 'tap'
import { prng } from '../../base/prng.ts'
import type { Labels } from '../store/specs.ts'
import { nodeObject, stored, taskObject, taskSpec } from '../store/testing/objects.ts'
import { Pipeline } from './filters.ts'
import { NodeInfo } from './node-info.ts'
import { Spread } from './spread.ts'

const node = (id: string, Labels: Labels = {}) =>
  new NodeInfo(stored(nodeObject(id, { spec: { Labels, Role: 'worker', Availability: 'active' } })))
const task = stored(taskObject('t'))
const by = (...labels: string[]) =>
  stored(
    taskObject('t', {
      spec: taskSpec({
        Placement: {
          Preferences: labels.map((SpreadDescriptor) => ({ Spread: { SpreadDescriptor } })),
        },
      }),
    }),
  )

let ids = 0
function placeMany(like: typeof task, nodes: readonly NodeInfo[], count: number, nowMs = 0) {
  const spread = new Spread(like, nodes, prng(1), nowMs)
  const places: string[] = []
  for (let i = 0; i < count; i++) {
    const info = spread.next((info) => info.place({ ...like, id: `made${ids++}` }))
    if (info === null) break
    places.push(info.node.id)
  }
  return places
}
const tally = (places: readonly string[]) =>
  Object.fromEntries(
    [...new Set(places)].sort().map((id) => [id, places.filter((p) => p === id).length]),
  )

t.test('evenly, first by tasks of the service, then by all tasks', async (t) => {
  const nodes = [node('a'), node('b'), node('c')]
  nodes[0]!.place({ ...task, id: 'mine' })
  nodes[1]!.place({ ...task, id: 'other1', serviceId: 'db' })
  t.same(placeMany(task, nodes, 1), ['c'])
  t.same(placeMany(task, nodes, 1), ['b'])
  t.same(tally(placeMany(task, nodes, 6)), { a: 2, b: 2, c: 2 })
})

t.test('five failures put a node last, four do not, and they are forgotten', async (t) => {
  const nodes = [node('a'), node('b')]
  for (let i = 0; i < 4; i++) nodes[0]!.recordFailure('web.1', i)
  t.same(tally(placeMany(task, nodes, 4)), { a: 2, b: 2 })
  nodes[0]!.recordFailure('web.1', 5)
  t.same(tally(placeMany(task, nodes, 4, 10)), { b: 4 })
  t.same(tally(placeMany({ ...task, specVersion: 2 }, nodes, 4, 10)), { a: 4 })
  t.same(tally(placeMany(task, nodes, 2, 300_100)), { a: 1, b: 1 }, 'forgotten')
})

t.test('a preference divides evenly between values, whatever their number of nodes', async (t) => {
  const nodes = [
    node('a', { zone: 'east' }),
    node('b', { zone: 'east' }),
    node('c', { zone: 'west' }),
    node('d'),
  ]
  t.same(tally(placeMany(by('node.labels.zone'), nodes, 12)), { a: 2, b: 2, c: 4, d: 4 })
})

t.test('preferences in order', async (t) => {
  const nodes = [
    node('a', { zone: 'east', rack: '1' }),
    node('b', { zone: 'east', rack: '2' }),
    node('c', { zone: 'east', rack: '2' }),
    node('d', { zone: 'west', rack: '1' }),
  ]
  const places = placeMany(by('node.labels.zone', 'node.labels.rack'), nodes, 16)
  t.same(tally(places), { a: 4, b: 2, c: 2, d: 8 })
})

t.test('full branches are left, to the last place', async (t) => {
  const nodes = [
    node('a', { zone: 'east', rack: '1' }),
    node('b', { zone: 'west', rack: '1' }),
    node('c', { zone: 'west', rack: '2' }),
  ]
  const like = by('node.labels.zone', 'node.labels.rack')
  const limited = {
    ...like,
    spec: { ...like.spec, Placement: { ...like.spec.Placement, MaxReplicas: 2 } },
  }
  t.same(tally(placeMany(limited, nodes, 9)), { a: 2, b: 2, c: 2 })
  // A branch none of whose nodes is suitable from the start.
  const elsewhere = {
    ...like,
    spec: { ...like.spec, Placement: { ...like.spec.Placement, Constraints: ['node.id!=a'] } },
  }
  t.same(tally(placeMany(elsewhere, nodes, 4)), { b: 2, c: 2 })
})

t.test('an unknown preference divides nothing', async (t) => {
  t.same(tally(placeMany(by('zone'), [node('a'), node('b')], 4)), { a: 2, b: 2 })
})

t.test('the heap chooses as well as a search of all nodes', async (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = prng(seed)
    const make = () => {
      const draw = prng(seed)
      return Array.from({ length: 1 + (seed % 9) }, (_, i) => {
        const info = node(`n${i}`)
        for (let k = draw.below(4); k > 0; k--) info.place({ ...task, id: `m${i}.${k}` })
        for (let k = draw.below(4); k > 0; k--) {
          info.place({ ...task, id: `o${i}.${k}`, serviceId: 'db' })
        }
        return info
      })
    }
    const limited = { ...task, spec: taskSpec({ Placement: { MaxReplicas: 3 + random.below(3) } }) }
    const [fast, plain] = [make(), make()]
    const pipeline = new Pipeline(limited)
    const load = (info: NodeInfo) => [info.tasksOf('web'), info.taskCount]
    for (let i = 0; i < 40; i++) {
      const spread = new Spread(limited, fast, random, 0)
      const chosen = spread.next((info) => info.place({ ...limited, id: `p${i}` }))
      const best = plain
        .filter((info) => pipeline.accepts(info))
        .sort((a, b) => load(a)[0]! - load(b)[0]! || load(a)[1]! - load(b)[1]!)[0]
      if (chosen === null || best === undefined) {
        t.equal(chosen, best ?? null)
        break
      }
      const twin = plain.find(({ node }) => node.id === chosen.node.id)!
      t.same(load(twin), load(best))
      twin.place({ ...limited, id: `p${i}` })
    }
  }
})
