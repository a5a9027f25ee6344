// The program of clean-up.test.ts: makes a lab, says so, and ends in the way its first argument
// says.

import process from 'node:process'
import { enterLab } from '../../cli/lab/enter.ts'
import { Lab } from '../../cli/lab/lab.ts'

enterLab()
const [how, marker] = process.argv.slice(2) as [string, string]
const lab = new Lab()
const hosts = await lab.hostsNamed('h1', 'h2')
await lab.bridge(hosts)
const sleeper = hosts[0]!.spawn(['sh', '-c', 'echo asleep; exec sleep 1000000', marker])
// A second one keeps the marker in its command line.
hosts[1]!.spawn(['sh', '-c', 'while :; do sleep 1000000; done', marker])
await sleeper.output(/asleep/)
process.stdout.write('ready\n')
switch (how) {
  case 'close':
    await lab.close()
    break
  case 'throw':
    throw new Error('as asked')
  case 'kill':
    process.kill(process.pid, 'SIGKILL')
    break
  case 'wait':
    await new Promise((resolve) => setTimeout(resolve, 60_000))
    break
  default:
    process.exit(0)
}
process.exit(0)
