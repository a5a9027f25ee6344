// nginx as the server of a 1 KB page and wrk as its load.

import { mkdirSync, writeFileSync } from 'node:fs'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { TOOL_SLACK_MS } from '../limits.ts'
import { command } from '../peers/pair.ts'

const PAGE_BYTES = 1024
const CONNECTIONS = 32
/** The same server again. A balancer's connections and direct ones must not meet at one port: the
 * server remembers the closed ones (TIME-WAIT) by address and port, and a new one whose
 * timestamps, which the client offsets per destination (RFC 7323, section 5.4), seem older is
 * turned away for a second. */
export const SECOND_PORT = 81

function config(folder: string): string {
  const page = 'x'.repeat(PAGE_BYTES)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join('\n  ')
  return `user root;
worker_processes 1;
daemon off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_requests 1000000000;
  ${temporary}
  server {
    listen 80 backlog=8192;
    listen [::]:80 backlog=8192;
    listen ${SECOND_PORT} backlog=8192;
    location / { return 200 "${page}"; }
  }
}
`
}

/** Starts one nginx (one worker) on port 80 of a host and waits until it answers. */
export async function nginx(lab: Lab, host: Host): Promise<void> {
  const binary = command('nginx')
  const folder = `${lab.folder}/nginx-${host.name}`
  mkdirSync(folder)
  writeFileSync(`${folder}/nginx.conf`, config(folder))
  await host.sysctl('net.core.somaxconn', '8192').catch(() => {})
  await host.sysctl('net.ipv4.tcp_max_syn_backlog', '8192').catch(() => {})
  const error = `${folder}/error.log`
  const server = host.spawn([binary, '-c', `${folder}/nginx.conf`, '-p', folder, '-e', error])
  const answers = async (): Promise<boolean> => {
    if (!server.running) throw new Error(`nginx ended: ${server.stderr.trim()}`)
    return (await host.probe.try('get', 'http://127.0.0.1/')).status === 200
  }
  await waitFor(answers, { what: 'nginx to answer' })
  await host.release()
}

/** Requests per second that got an answer. `fresh` = a new connection for each. */
export async function wrk(
  client: Host,
  target: string,
  seconds: number,
  fresh: boolean,
): Promise<number> {
  const header = fresh ? ['-H', 'Connection: close'] : []
  const fixed = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--timeout', '2s']
  const argv = [command('wrk'), ...fixed, ...header, `http://${target}/`]
  const text = await client.must(argv, { lifeMs: seconds * 1000 + TOOL_SLACK_MS })
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(text)
  if (!rate || Number(rate[1]) === 0) throw new Error(`wrk got no answer from ${target}`)
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)
  const failed = errors ? errors.slice(1).reduce((sum, n) => sum + Number(n), 0) : 0
  const answered = Number(/(\d+) requests in/.exec(text)?.[1] ?? 0)
  // A figure from a path that mostly fails is no figure.
  if (failed > answered / 100) throw new Error(`wrk: ${failed} errors for ${answered} answers`)
  return Number(rate[1])
}
