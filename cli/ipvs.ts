// `weft ipvs`: the load balancer of a running agent by ipvsadm's command line. The grammar, the
// listings and the statuses are ipvsadm's; --run-dir says which agent is meant.

import process from 'node:process'
import { ControlClient, ControlError } from './control-client.ts'
import { EXIT_OK } from './exit.ts'
import { IpvsFailure, STATUS_OPTION } from './ipvs/failure.ts'
import { machineNames } from './ipvs/names.ts'
import { type Request, readRequest } from './ipvs/request.ts'
import { restore } from './ipvs/restore.ts'
import { runRequest, type Write } from './ipvs/run.ts'
import { RUN_DIRECTORY_DEFAULT } from './run-directory.ts'
import { weftVersion } from './version.ts'

export const ownsHelp: boolean = true

export const usage: string = `usage: weft ipvs [--run-dir DIR] COMMAND [OPTIONS]

The load balancer of a running agent, by the command line of ipvsadm.

  -A|E SERVICE [-s SCHEDULER] [-p [SECONDS]] [-M NETMASK] [-b FLAGS] [-o]
                                    Add a service, or change its options
  -D SERVICE                        Delete a service
  -a|e SERVICE -r SERVER [-m|-g|-i] [-w WEIGHT] [-x UPPER] [-y LOWER]
                                    Add a real server, or change it
  -d SERVICE -r SERVER              Delete a real server
  -L|l [SERVICE] [-n] [--stats|--rate|--thresholds|--persistent-conn]
                 [--exact] [--nosort]
                                    List services; nothing given does this too
  -L -c [-n]                        List connections
  -L --timeout                      List timeouts (tcp tcpfin udp)
  -S [-n]                           Save the services as rules
  -R                                Restore rules from standard input
  -C                                Clear the services added by hand
  -Z [SERVICE]                      Zero counters
  --set TCP TCPFIN UDP              Set timeouts in seconds, 0 = leave it
  -v, -h                            Version; this help

SERVICE is -t HOST[:PORT], -u HOST[:PORT], --sctp-service HOST[:PORT] or
-f MARK [-6]; SERVER is HOST[:PORT]. IPv6 addresses with a port stand in [ ].
Schedulers: rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh twos; default wlc.

Services added here live beside those of the tables, which cannot be changed
here; docs/ipvs-command.md says where they apply. Packets are always translated
(-m), which is also the default; -g and -i are kept for the listing.

  --run-dir DIR    The agent's run directory (default ${RUN_DIRECTORY_DEFAULT})
`

export async function run(args: readonly string[]): Promise<number> {
  // A reader that has gone ends a listing, as `| head` expects.
  process.stdout.on('error', () => process.exit(EXIT_OK))
  try {
    const { runDirectory, rest } = takeRunDirectory(args)
    const names = machineNames()
    const request = readRequest(rest.length === 0 ? ['-L'] : rest, names)
    if (request.command === 'help') return say(usage)
    if (request.command === 'version') return say(`weft ipvs ${weftVersion()} (as ipvsadm 1.31)\n`)
    const client = await ControlClient.connect(runDirectory)
    try {
      await carryOut(client, request, names)
      return EXIT_OK
    } finally {
      client.close()
    }
  } catch (error) {
    if (error instanceof IpvsFailure) return complain(error.status, error.message)
    // What ipvsadm says of a kernel without IPVS has this status too.
    if (error instanceof ControlError) return complain(STATUS_OPTION, `weft ipvs: ${error.message}`)
    throw error
  }
}

async function carryOut(
  client: ControlClient,
  request: Request,
  names: ReturnType<typeof machineNames>,
): Promise<void> {
  if (request.command !== 'restore') return runRequest(client, request, names, writeOut)
  process.stdin.setEncoding('utf8')
  return restore(client, process.stdin as AsyncIterable<string>, names, writeOut)
}

/** Writes to standard output, no faster than it is read. */
const writeOut: Write = (text) => {
  if (process.stdout.write(text)) return
  return new Promise((done) => {
    process.stdout.once('drain', () => done())
  })
}

function say(text: string): number {
  process.stdout.write(text)
  return EXIT_OK
}

function complain(status: number, message: string): number {
  process.stderr.write(`${message}\n`)
  return status
}

/** Takes --run-dir out of the arguments, wherever it stands: it is none of ipvsadm's. */
function takeRunDirectory(args: readonly string[]): { runDirectory: string; rest: string[] } {
  const rest: string[] = []
  let runDirectory = RUN_DIRECTORY_DEFAULT
  for (let i = 0; i < args.length; i++) {
    const argument = args[i]!
    if (argument === '--') {
      rest.push(...args.slice(i))
      break
    }
    if (argument.startsWith('--run-dir=')) {
      runDirectory = argument.slice('--run-dir='.length)
    } else if (argument === '--run-dir') {
      i++
      runDirectory = args[i] ?? ''
    } else {
      rest.push(argument)
      continue
    }
    if (runDirectory === '') throw new IpvsFailure(STATUS_OPTION, '--run-dir wants a directory')
  }
  return { runDirectory, rest }
}
