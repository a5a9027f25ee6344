// Rewrites a key file without pause, for a test that kills it: renewed pairs and other locks, one
// after another. Arguments: the path, the key encryption key in hexadecimal. A line on standard
// output says that it has begun.

import { writeSync } from 'node:fs'
import { KeyFile } from '../key-file.ts'
import { testNode, testSwarm } from './doubles.ts'

const [path = '', kekHex = ''] = process.argv.slice(2)
const kek = Buffer.from(kekHex, 'hex')
const file = KeyFile.read(path)!
if (file.isLocked) file.unlock(kek)
const swarm = testSwarm()
const pairs = [testNode(swarm), testNode(swarm)] as const
for (let i = 0; ; i++) {
  const { key, chain } = pairs[i % 2]!
  file.replaceIdentity(key, chain)
  file.rotateKek(file.isSealed ? null : kek, file.kekVersion + 1)
  if (i === 0) writeSync(1, 'begun\n')
}
