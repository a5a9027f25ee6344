// The drawing: every line fits 80 columns, colour adds nothing to what is shown.

import t from 'tap'
import { ansiPaint, drawLive, drawTopology, type LiveView, noPaint } from './screen.ts'

const VIEW: LiveView = {
  topology: {
    client: '192.168.11.4',
    ports: '8080 web, 8081 shop',
    vips: '10.0.1.2, fd43:e486:648a::2',
    nodes: [1, 2, 3].map((n) => ({
      name: `node${n}`,
      outside: `192.168.11.${n}`,
      underlay: `192.168.10.${n}`,
      state: n === 3 ? 'down' : 'ready',
      role: n === 1 ? 'leader' : 'manager',
      tasks: [
        { name: `web.${n}`, state: n === 2 ? 'preparing' : 'running' },
        ...(n === 1 ? [{ name: 'shop.1', state: 'running' }] : []),
      ],
    })),
  },
  ways: [
    {
      name: 'client → node1:8080',
      answers: new Map([['web.1', 123456]]),
      failures: 999,
      medianMs: 999.9,
      last: `http://192.168.11.1:8080/marker: ${'x'.repeat(200)}`,
    },
  ],
  underlay: {
    packetsPerSecond: 123456,
    megabitsPerSecond: 12345.6,
    looked: 1234567,
    readable: 0,
    control: 12345,
  },
  metricsUrl: 'http://127.0.0.1:65535/metrics',
  message: 'y'.repeat(300),
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
const ESCAPES = /\x1b\[\d+m/g

t.test('every line fits 80 columns and colour changes nothing else', async (t) => {
  const plain = drawLive(VIEW, noPaint)
  for (const line of plain) t.ok(line.length <= 80, line)
  const coloured = drawLive(VIEW, ansiPaint).map((line) => line.replace(ESCAPES, ''))
  t.same(coloured, plain)
  t.not(drawLive(VIEW, ansiPaint).join(''), plain.join(''))
})

t.test('the picture tells the living from the dead', async (t) => {
  const picture = drawTopology(VIEW.topology, noPaint).join('\n')
  t.match(picture, /● web\.1 running/)
  t.match(picture, /○ web\.2 preparing/)
  t.match(picture, /○ web\.3 running/, 'on a node that is down')
  t.match(picture, /node1 ready, leader/)
})

t.test('a readable packet is said loudly', async (t) => {
  const underlay = { ...VIEW.underlay, readable: 3 }
  t.match(drawLive({ ...VIEW, underlay }, noPaint).join('\n'), /3 of 1234567 packets READABLE/)
})
