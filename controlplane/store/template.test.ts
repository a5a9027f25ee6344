// Goal: placeholders mean what Go's templates mean by them, and nothing is half carried out.
// Method: a table of template, result; a table of template, complaint.

import t from 'tap'
import { expandTemplate, isTemplate, type TemplateContext } from './template.ts'

const context: TemplateContext = {
  fields: {
    Service: { ID: 's1', Name: 'web', Labels: { tier: 'front', 'com.example.zone': 'a' } },
    Task: { Slot: '3', Name: 'web.3.t1' },
  },
  functions: { secret: (name) => (name === 'pw' ? 'hush' : fail(`no secret ${name}`)) },
}

function fail(message: string): never {
  throw new Error(message)
}

const good: readonly (readonly [string, string])[] = [
  ['plain', 'plain'],
  ['{{.Service.Name}}', 'web'],
  ['a{{ .Task.Slot }}b{{.Service.ID}}', 'a3bs1'],
  ['{{index .Service.Labels "com.example.zone"}}', 'a'],
  ['{{index .Service.Labels "none"}}', ''],
  ['{{.Service.Labels.tier}}', 'front'],
  ['{{.Service.Labels}}', 'map[com.example.zone:a tier:front]'],
  ['{{secret "pw"}}', 'hush'],
  ['{{join "-" .Service.Name .Task.Slot}}', 'web-3'],
  ['{{"}} quoted {{"}}', '}} quoted {{'],
  ['x {{- .Task.Slot -}} y', 'x3y'],
  ['{ {.Service.Name} }', '{ {.Service.Name} }'],
  ['{ {{.Task.Slot}}{', '{ 3{'],
]

const bad: readonly (readonly [string, RegExp])[] = [
  ['{{.Service.Nope}}', /there is no "Nope"/],
  ['{{.Service}}', /is no text/],
  ['{{if .Service}}x{{end}}', /function "if" not defined/],
  ['{{.Task.Slot | printf}}', /"\|" is not supported/],
  ['{{}}', /is empty/],
  ['a{{', /{{: unclosed action/],
  ['{{.Task.Slot}} {{ .Task', /{{ .Task: unclosed action/],
  ['{{secret "other"}}', /no secret other/],
  ['{{secret}}', /takes one argument/],
  ['{{toString .Task.Slot}}', /"toString" not defined/],
  ['{{constructor "x"}}', /not defined/],
  ['{{.Service.Labels.__proto__}}', /there is no/],
]

t.test('what is replaced', async (t) => {
  for (const [text, result] of good) t.equal(expandTemplate(text, context), result, text)
  t.ok(isTemplate('{{') && !isTemplate('{'))
})

t.test('what is refused', async (t) => {
  for (const [text, message] of bad) t.throws(() => expandTemplate(text, context), message, text)
})
