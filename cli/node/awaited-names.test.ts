// Goal: whoever waits for a name learns at once that it is there, and in time that it is not.
// Method: names come and go in every order.

import t from 'tap'
import { AwaitedNames } from './awaited-names.ts'

t.test('a name that is there, comes, goes, or never comes', async (t) => {
  const names = new AwaitedNames()
  names.replace(['a'])
  t.equal(await names.has('a', 0), true)
  const both = Promise.all([names.has('b', 60_000), names.has('b', 60_000)])
  const never = names.has('c', 20)
  names.replace(['b'])
  t.same(await both, [true, true])
  t.equal(await never, false)
  t.equal(await names.has('a', 1), false, 'not any more')
  names.replace(['a'])
  t.equal(await names.has('a', 1), true)
})
