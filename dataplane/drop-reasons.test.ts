// Goal: a drop reason's number, its row and its metric label are one thing. Method: the module's
// own exports are held against its table.

import t from 'tap'
import * as reasons from './drop-reasons.ts'

t.test('every constant has the row of its name', async (t) => {
  const constants = Object.entries(reasons).filter(([name]) => /^DROP_(?!REASONS$)/.test(name))
  t.equal(constants.length, reasons.DROP_REASONS.length)
  for (const [name, index] of constants) {
    t.equal(reasons.DROP_REASONS[index as number]!.name, name.slice(5).toLowerCase())
  }
})

t.test('names are labels and sentences are sentences', async (t) => {
  for (const { name, sentence } of reasons.DROP_REASONS) {
    t.match(name, /^[a-z]+(_[a-z]+)*$/)
    t.match(sentence, /^[A-Z].*\.$/)
    t.ok(sentence.length <= 100, name)
  }
})
