// Goal: only clean, read-only file mappings are dropped, and a process goes on working without
// them.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { parseMappings, trimMemory } from './trim.ts'

const SMAPS = `55d000000000-55d000002000 r-xp 00000000 fe:00 11   /usr/bin/node
Rss:                 100 kB
Anonymous:             0 kB
55d000002000-55d000003000 r--p 00002000 fe:00 11   /usr/bin/node
Anonymous:             4 kB
55d000003000-55d000004000 rw-p 00003000 fe:00 11   /usr/bin/node
Anonymous:             0 kB
7f0000000000-7f0000001000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f0000001000-7f0000002000 r--s 00000000 fe:00 12   /tmp/shared
Anonymous:             0 kB
`

t.test('only a clean private read-only mapping of a file is droppable', async (t) => {
  t.strictSame(
    parseMappings(SMAPS).map((mapping) => mapping.droppable),
    [true, false, false, false, false],
  )
  t.equal(parseMappings(SMAPS)[0]?.end, 0x55d000002000)
})

t.test('trimming lowers the resident set and breaks nothing', async (t) => {
  const resident = (): number =>
    Number(/RssFile:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1])
  const before = resident()
  t.ok(trimMemory() > 0)
  t.ok(resident() < before, `${resident()} kB of ${before} kB stayed`)
  t.equal(JSON.parse(JSON.stringify({ answer: 42 })).answer, 42)
})
