// Goal: requests are read as a Go server reads them, with its complaints. Method: texts and what
// comes out, beside what a Docker Engine was seen to answer.

import t from 'tap'
import { decodeJson } from './decode.ts'
import { parseJson } from './json-parser.ts'
import { SECRET_SPEC } from './types-resource.ts'
import { SERVICE_SPEC } from './types-service.ts'

const decode = (text: string) => decodeJson(SERVICE_SPEC, text)

t.test('names in any case, canonical out', async (t) => {
  const text =
    '{"name":"lc","taskTEMPLATE":{"containerspec":{"image":"busybox","args":["a"]}},' +
    '"mode":{"replicated":{"replicas":1}},"unknown":{"x":[1,2]}}'
  t.same(decode(text), {
    Name: 'lc',
    Labels: {},
    TaskTemplate: { ContainerSpec: { Image: 'busybox', Args: ['a'] }, ForceUpdate: 0 },
    Mode: { Replicated: { Replicas: 1 } },
  })
})

t.test('what is empty is left out, unless it was meant', async (t) => {
  const spec = decode(
    '{"Labels":null,"TaskTemplate":{"Resources":{"Limits":{},"Reservations":null},' +
      '"ContainerSpec":{"Init":false,"TTY":false,"Mounts":[],"StopGracePeriod":0}},' +
      '"Mode":{"Replicated":{"Replicas":0}},"UpdateConfig":{"Delay":0}}',
  ) as Record<string, unknown>
  t.same(spec, {
    Labels: {},
    TaskTemplate: {
      ContainerSpec: { Init: false, StopGracePeriod: 0 },
      Resources: { Limits: {} },
      ForceUpdate: 0,
    },
    Mode: { Replicated: { Replicas: 0 } },
    UpdateConfig: { Parallelism: 0, MaxFailureRatio: 0, Order: '' },
  })
})

t.test('what is shown of a large number is a number of its type', async (t) => {
  const shown = (name: string, given: string): bigint => {
    const spec = decode(`{"TaskTemplate":{"RestartPolicy":{"${name}":${given}}}}`)
    const { TaskTemplate } = spec as { TaskTemplate: { RestartPolicy: Record<string, number> } }
    return BigInt(JSON.stringify(TaskTemplate.RestartPolicy[name]))
  }
  for (const [name, max] of [
    ['MaxAttempts', 2n ** 64n - 1n],
    ['Delay', 2n ** 63n - 1n],
    ['Delay', -(2n ** 63n)],
  ] as const) {
    const text = shown(name, String(max))
    const distance = max < 0n ? text - max : max - text
    t.ok(distance >= 0n && distance <= 4096n, `${name} ${max}: ${text}`)
  }
  t.equal(shown('MaxAttempts', '9007199254740991'), 9007199254740991n)
})

t.test("complaints in Go's words", async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    [
      '{"Name":5}',
      'json: cannot unmarshal number into Go struct field ServiceSpec.Name of type string',
    ],
    ['{"Name":', 'unexpected EOF'],
    ['{"Name"}', "invalid character '}' after object key"],
    ['{"Name":"a",}', "invalid character '}' looking for beginning of object key string"],
    ['{"Name":"a" 1}', "invalid character '1' after object key:value pair"],
    ['[1 2]', "invalid character '2' after array element"],
    ['xx', "invalid character 'x' looking for beginning of value"],
    ['nul', 'unexpected EOF'],
    ['nulx', "invalid character 'x' in literal null (expecting 'l')"],
    ['{} {}', 'unexpected content after JSON'],
    ['"a\nb"', "invalid character '\\n' in string literal"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"],
    ['-', 'unexpected EOF'],
    ['01', 'unexpected content after JSON'],
    ['[]', 'json: cannot unmarshal array into Go value of type swarm.ServiceSpec'],
    [
      '{"Mode":{"Replicated":{"Replicas":-1}}}',
      'json: cannot unmarshal number -1 into Go struct field ' +
        'ReplicatedService.Mode.Replicated.Replicas of type uint64',
    ],
    [
      '{"TaskTemplate":{"ContainerSpec":{"Env":"A=1"}}}',
      'json: cannot unmarshal string into Go struct field ' +
        'ContainerSpec.TaskTemplate.ContainerSpec.Env of type []string',
    ],
    [
      '{"TaskTemplate":{"Resources":{"Limits":{"NanoCPUs":1.5}}}}',
      'json: cannot unmarshal number 1.5 into Go struct field ' +
        'Limit.TaskTemplate.Resources.Limits.NanoCPUs of type int64',
    ],
    ['{"Name":true,"Labels":3', 'unexpected EOF'],
  ]
  for (const [text, message] of cases) t.throws(() => decode(text), { status: 400, message }, text)
})

t.test('names that objects have by birth are only names', async (t) => {
  const spec = decode('{"Labels":{"__proto__":"a","constructor":"b"},"__proto__":{"Name":"x"}}')
  const { Labels } = spec as { Labels: object }
  t.same(Object.keys(Labels), ['__proto__', 'constructor'])
  t.equal(Object.getPrototypeOf(Labels), Object.prototype)
  t.equal((spec as { Name?: string }).Name, undefined)
})

t.test('base64 is checked', async (t) => {
  t.same(decodeJson(SECRET_SPEC, '{"Data":"YQ=="}'), { Labels: {}, Data: 'YQ==' })
  for (const data of ['YQ', '@@@@', 'Y===', 'a b=']) {
    t.throws(() => decodeJson(SECRET_SPEC, JSON.stringify({ Data: data })), /illegal base64/)
  }
})

t.test('depth is bounded, strings are whole', async (t) => {
  t.throws(() => parseJson('['.repeat(100_000)), /exceeded max depth/)
  t.equal(parseJson('"\\u00e9\\n\\ud83d\\ude00"'), 'é\n😀')
  const long = 'x'.repeat(2_000_000)
  t.equal(parseJson(`"${long}\\n"`), `${long}\n`)
})
