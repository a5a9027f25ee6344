// `weft up`: the node's agent. It serves the Engine API, and takes part in a swarm as that API asks
// for; what it was part of when it was stopped it takes up again.
//
// Order: the directories are taken first, so that a second agent is refused before it touches
// anything; then metrics and sockets, then the swarm. SIGTERM and SIGINT stop the agent; the tasks
// go on and are taken over by the next start. A second signal ends it at once. SIGUSR2 stops it for
// a restart: published ports are then held for the next start.

import { createSocket } from 'node:dgram'
import { existsSync } from 'node:fs'
import process from 'node:process'
import type { Logger } from '../base/log.ts'
import { makeDirectory } from '../controlplane/agent/make-directory.ts'
import { EngineApi } from '../controlplane/api/engine-api.ts'
import { type Listener, listen } from '../controlplane/api/server.ts'
import { Directory } from '../controlplane/raft/shell/directory.ts'
import type { EngineEnd } from '../dataplane/engine-handle.ts'
import { controlHandlers } from './control-handlers.ts'
import { type ControlServer, serveControl } from './control-server.ts'
import { EXIT_FAILURE, EXIT_OK, EXIT_RESTART } from './exit.ts'
import { STOP_TIMEOUT_MS } from './limits.ts'
import { stderrLogger } from './log-lines.ts'
import { type MetricsServer, serveMetrics } from './metrics-server.ts'
import { splitAddress } from './node/addresses.ts'
import { writeBackup } from './node/backup.ts'
import { openExecutor } from './node/executors.ts'
import { HostAddresses } from './node/host-addresses.ts'
import { Node } from './node/node.ts'
import { NodeEngine } from './node/node-engine.ts'
import { NodeFiles, swarmDirectory } from './node/node-files.ts'
import { nodeMetrics } from './node/node-metrics.ts'
import { nodeServices } from './node/services.ts'
import { systemClock, systemTimers } from './node/system.ts'
import { parseUpSettings, type UpSettings } from './node/up-settings.ts'
import { weftVersion } from './version.ts'

export { usage } from './node/up-settings.ts'

/** Gives back, last taken first, what was taken so far. */
class Releases {
  readonly #all: ((end: EngineEnd) => unknown)[] = []

  add(release: (end: EngineEnd) => unknown): void {
    this.#all.push(release)
  }

  async run(end: EngineEnd, log: Logger): Promise<void> {
    for (const release of this.#all.splice(0).reverse()) {
      try {
        await release(end)
      } catch (error) {
        log.error('stopping failed', { error: (error as Error).message })
      }
    }
  }
}

export async function run(args: readonly string[]): Promise<number> {
  const settings = parseUpSettings(args)
  const log = stderrLogger(settings.logFormat, settings.logLevel)
  const releases = new Releases()
  const stopped = stopSignal(log)
  let status = EXIT_OK
  let end: EngineEnd = 'keep'
  try {
    await start(settings, log, releases)
    if ((await stopped) === 'restart') {
      end = 'hold'
      status = EXIT_RESTART
    }
  } catch (error) {
    log.error((error as Error).message)
    status = EXIT_FAILURE
  }
  const late = setTimeout(() => {
    log.error(`stopping took more than ${STOP_TIMEOUT_MS / 1000} s`)
    process.exit(EXIT_FAILURE)
  }, STOP_TIMEOUT_MS)
  await releases.run(end, log)
  clearTimeout(late)
  if (status !== EXIT_FAILURE) log.info('stopped')
  process.exit(status)
}

/** Resolves at the first SIGINT, SIGTERM or SIGUSR2; a SIGINT or SIGTERM after that ends the
 * process. */
function stopSignal(log: Logger): Promise<'stop' | 'restart'> {
  let isEnding = false
  return new Promise((resolve) => {
    process.on('SIGUSR2', () => {
      if (isEnding) return
      isEnding = true
      log.info('stopping for a restart; tasks go on', { signal: 'SIGUSR2' })
      resolve('restart')
    })
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (isEnding) {
          log.warn('stopping at once; the next start repairs the host', { signal })
          process.exit(EXIT_FAILURE)
        }
        isEnding = true
        log.info('stopping; tasks go on', { signal })
        resolve('stop')
      })
    }
  })
}

async function start(settings: UpSettings, log: Logger, releases: Releases): Promise<void> {
  const { dataDirectory, runDirectory } = settings
  for (const path of new Set([dataDirectory, runDirectory])) {
    makeDirectory(path, 0o700)
    const directory = new Directory(path)
    releases.add(() => directory.close())
  }
  let node: Node | null = null
  const engine = new NodeEngine({
    runDirectory,
    log,
    onFailure: () => node?.membership?.agent.dataPlaneLost(),
  })
  releases.add((end) => engine.stop(end))
  node = newNode(settings, engine, log)
  const version = weftVersion()
  const api = new EngineApi({ version, log }, node, nodeServices(node))
  releases.add(() => api.close())
  node.serveWith((request) => api.handleForwarded(request))
  node.onChange(() => api.clusterChanged())
  await serveBeside(settings, engine, node, log, releases)
  releases.add((end) => node.close(end))
  for (const on of settings.hosts) {
    const listener: Listener = await listen(api, on)
    releases.add(() => listener.close())
    log.info('serving the Engine API', { address: listener.address })
  }
  await node.start()
  if (node.membership === null) await engine.stop()
  const { state, nodeId } = node.status()
  log.info('the node is up', { state, ...(nodeId === '' ? {} : { node: nodeId }) })
}

/** The control socket, and metrics. */
async function serveBeside(
  settings: UpSettings,
  engine: NodeEngine,
  node: Node,
  log: Logger,
  releases: Releases,
): Promise<void> {
  const version = weftVersion()
  const files = new NodeFiles(swarmDirectory(settings.dataDirectory))
  const backup = (directory: string): Promise<void> => writeBackup(directory, files, node.manager)
  const control: ControlServer = await serveControl(
    settings.runDirectory,
    controlHandlers(engine, version, backup),
    log,
  )
  releases.add(() => control.close())
  if (settings.metrics === null) return
  const reloadFailures = (): number => 0
  const metrics: MetricsServer = await serveMetrics(settings.metrics, {
    engine,
    version,
    reloadFailures,
    more: () => nodeMetrics(node),
  })
  releases.add(() => metrics.close())
  log.info('serving metrics', { url: metrics.url })
}

function newNode(settings: UpSettings, engine: NodeEngine, log: Logger): Node {
  const { dataDirectory, runDirectory, hostname, labels, genericResources, runtime } = settings
  const hasEngine = runtime !== 'process' && existsSync(settings.engineSocket)
  const addresses = new HostAddresses(systemClock)
  return new Node(
    {
      hostname,
      engineSocket: hasEngine ? settings.engineSocket : null,
      defaultAdvertise: settings.advertise,
      zone: labels.zone ?? '',
      isBehindNat: labels['behind-nat'] === 'true',
    },
    {
      files: new NodeFiles(swarmDirectory(dataDirectory)),
      engine,
      openExecutor: (host) =>
        openExecutor({
          ...host,
          runtime,
          dataDirectory,
          runDirectory,
          version: weftVersion(),
          hostname,
          labels,
          genericResources,
          engineSocket: settings.engineSocket,
          pluginDirectory: settings.pluginDirectory,
          log,
        }),
      systemAddresses: () => addresses.system(),
      publishedAddresses: () => addresses.published(),
      addressTowards,
      clock: systemClock,
      timers: systemTimers,
      log,
    },
  )
}

/** The address that this host has on the way to another: what the kernel's routes say; nothing is
 * sent. */
async function addressTowards(remote: string): Promise<string | null> {
  const target = splitAddress(remote)
  if (target === null || target.port === 0) return null
  const socket = createSocket(target.host.includes(':') ? 'udp6' : 'udp4')
  try {
    return await new Promise((resolve) => {
      socket.once('error', () => resolve(null))
      socket.connect(target.port, target.host, () => resolve(socket.address().address))
    })
  } finally {
    socket.close()
  }
}
