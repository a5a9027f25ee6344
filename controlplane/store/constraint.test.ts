// Goal: constraints are read and met as Swarm's are. Method: tables of texts.

import t from 'tap'
import { ConstraintError, meetsConstraints, parseConstraints } from './constraint.ts'
import { nodeObject, stored } from './testing/objects.ts'

const node = stored(
  nodeObject('n1', {
    spec: { Labels: { zone: 'East', empty: '' }, Role: 'worker', Availability: 'active' },
    status: { state: 'ready', message: '', address: '192.0.2.17' },
  }),
)
const node6 = { ...node, status: { ...node.status, address: '2001:db8::17' } }

t.test('what a node meets', async (t) => {
  const rows: [string, boolean][] = [
    ['node.id==n1', true],
    ['node.id == N1', true],
    ['NODE.ID==n1', true],
    ['node.id!=n1', false],
    ['node.id==n', false],
    ['node.hostname==HOST-n1', true],
    ['node.role==worker', true],
    ['node.role!=manager', true],
    ['node.platform.os==linux', true],
    ['node.platform.arch==x86_64', true],
    ['node.platform.arch==amd64', true],
    ['node.platform.arch!=amd64', false],
    ['node.labels.zone==east', true],
    ['node.labels.Zone==east', false],
    ['node.labels.none!=east', true],
    ['node.labels.none==east', false],
    ['node.labels.constructor!=x', true],
    ['engine.labels.disk!=ssd', true],
    ['node.ip==192.0.2.17', true],
    ['node.ip!=192.0.2.17', false],
    ['node.ip==192.0.2.0/24', true],
    ['node.ip!=192.0.2.0/24', false],
    ['node.ip==192.0.3.0/24', false],
    ['node.ip==2001:db8::/32', false],
    ['node.ip!=2001:db8::/32', true],
    ['node.ip==nowhere', false],
    ['node.ip!=nowhere', false],
    ['node.colour==red', false],
    ['node.colour!=red', false],
    // "==" is looked for first, wherever it stands.
    ['node.id!=n2==', false],
  ]
  for (const [text, expected] of rows) {
    let actual: boolean
    try {
      actual = meetsConstraints(node, parseConstraints([text]))
    } catch {
      actual = false
    }
    t.equal(actual, expected, text)
  }
  t.ok(meetsConstraints(node6, parseConstraints(['node.ip==2001:db8::/32'])))
  t.ok(meetsConstraints(node, []), 'no constraint')
  t.notOk(meetsConstraints(node, parseConstraints(['node.id==n1', 'node.role==manager'])), 'and')
})

t.test('what cannot be read', async (t) => {
  const rows: [string, string][] = [
    ['node.id=n1', 'constraint expected one operator from ==, !='],
    ['', 'constraint expected one operator from ==, !='],
    ['==x', "key '' is invalid"],
    ['1node==x', "key '1node' is invalid"],
    ['node.id==', "value '' is invalid"],
    ['node.id==a<b', "value 'a<b' is invalid"],
  ]
  for (const [text, message] of rows) {
    t.throws(() => parseConstraints([text]), new ConstraintError(message), text)
  }
})
