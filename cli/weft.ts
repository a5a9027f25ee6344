// The command line: finds the verb and hands over to its file. A verb's code is loaded only when it
// is asked for: what an agent does not use must not lie in its memory.

import process from 'node:process'
import { didYouMean } from '../dataplane/suggest.ts'
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UsageError } from './exit.ts'
import type { Verb } from './verb.ts'

interface VerbEntry {
  readonly summary: string
  readonly load: () => Promise<Verb>
}

const VERBS: Readonly<Record<string, VerbEntry>> = {
  backup: {
    summary: 'Save a manager that runs',
    load: () => import('./backup.ts'),
  },
  config: {
    summary: 'Create, show and remove configs, as docker config does',
    load: async () => (await import('./config.ts')).verb,
  },
  dataplane: {
    summary: "Run this node's data plane from a tables file",
    load: () => import('./dataplane.ts'),
  },
  demo: {
    summary: 'Show a swarm of three nodes and a stack on this machine',
    load: () => import('./demo.ts'),
  },
  ipvs: {
    summary: "Show and change a running agent's load balancer, as ipvsadm does",
    load: () => import('./ipvs.ts'),
  },
  keygen: { summary: "Make a node's private key", load: () => import('./keygen.ts') },
  network: {
    summary: 'Create, show and remove networks, as docker network does',
    load: async () => (await import('./network.ts')).verb,
  },
  node: {
    summary: "Show and change the swarm's nodes, as docker node does",
    load: async () => (await import('./node.ts')).verb,
  },
  restore: {
    summary: 'Take a backup back, before the agent starts',
    load: () => import('./restore.ts'),
  },
  secret: {
    summary: 'Create, show and remove secrets, as docker secret does',
    load: async () => (await import('./secret.ts')).verb,
  },
  service: {
    summary: 'Create, change and show services, as docker service does',
    load: async () => (await import('./service.ts')).verb,
  },
  stack: {
    summary: 'Deploy and remove compose files, as docker stack does',
    load: async () => (await import('./stack.ts')).verb,
  },
  swarm: {
    summary: 'Found, join and leave swarms, as docker swarm does',
    load: async () => (await import('./swarm.ts')).verb,
  },
  up: {
    summary: 'Run this node: the Engine API, and its part in a swarm',
    load: () => import('./up.ts'),
  },
  version: { summary: 'Print the versions of weft and Node', load: () => import('./version.ts') },
}

function overview(): string {
  const width = Math.max(...Object.keys(VERBS).map((name) => name.length))
  const lines = Object.entries(VERBS).map(
    ([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`,
  )
  return `weft: swarms with encrypted networks, load balancing and a routing mesh in user space

usage: weft VERB [OPTIONS]

${lines.join('\n')}

"weft VERB --help" tells a verb's options.
`
}

function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  return args.slice(0, end < 0 ? undefined : end).some((arg) => arg === '--help' || arg === '-h')
}

async function main(args: readonly string[]): Promise<number> {
  const [first, ...rest] = args
  if (first === undefined) {
    process.stderr.write(overview())
    return EXIT_USAGE
  }
  const isHelp = first === 'help' || first === '--help' || first === '-h'
  const name = isHelp ? rest[0] : first === '--version' ? 'version' : first
  if (name === undefined) {
    process.stdout.write(overview())
    return EXIT_OK
  }
  if (!Object.hasOwn(VERBS, name)) {
    const what = name.startsWith('-') ? 'option' : 'verb'
    const hint = didYouMean(name, [...Object.keys(VERBS), 'help'])
    throw new UsageError(`unknown ${what} "${name}"${hint || '; "weft help" lists the verbs'}`)
  }
  const verb = await VERBS[name]!.load()
  if (isHelp || (verb.ownsHelp !== true && wantsHelp(rest))) {
    process.stdout.write(verb.usage)
    return EXIT_OK
  }
  try {
    return await verb.run(rest)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const words = error.command === undefined ? name : `${name} ${error.command}`
    throw new UsageError(`${words}: ${error.message}; see "weft ${words} --help"`)
  }
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const isUsage = error instanceof UsageError
  process.stderr.write(`weft: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = isUsage ? EXIT_USAGE : EXIT_FAILURE
}
