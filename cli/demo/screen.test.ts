// The drawing: every line fits 80 columns, colour adds nothing to what is shown.

import t from 'tap'
import { ansiPaint, drawLive, drawTopology, type LiveView, noPaint } from './screen.ts'

const VIEW: LiveView = {
  topology: {
    client: '192.168.11.4',
    port: 8080,
    vip: '10.7.0.6, fd00:7::6',
    nodes: [1, 2, 3].map((n) => ({
      name: `node${n}`,
      outside: `192.168.11.${n}`,
      underlay: `192.168.10.${n}`,
      tasks: [
        { name: `web${n}`, address: `10.7.0.${n + 1}`, up: n !== 2 },
        ...(n === 1 ? [{ name: 'shop', address: '10.7.0.5', up: true }] : []),
      ],
    })),
  },
  replicas: ['web1', 'web2', 'web3'],
  ways: [
    {
      name: 'client → node1:8080',
      answers: new Map([['web1', 123456]]),
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
  loads: 3,
  loadGigabits: 12.345,
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
  t.match(picture, /● web1 10\.7\.0\.2/)
  t.match(picture, /○ web2 dead/)
  t.match(picture, /● shop 10\.7\.0\.5/)
})

t.test('a readable packet is said loudly', async (t) => {
  const underlay = { ...VIEW.underlay, readable: 3 }
  t.match(drawLive({ ...VIEW, underlay }, noPaint).join('\n'), /3 of 1234567 packets READABLE/)
})
