// haproxy in TCP mode with one thread, on the plain underlay: a userspace balancer that splices two
// connections and hides the client's address.

import { writeFileSync } from 'node:fs'
import type { Lab } from '../../cli/lab/lab.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { Chain } from './chain.ts'
import { command } from './pair.ts'

/** Starts it on the front, port `port`, towards the back's port 80. */
export async function haproxy(lab: Lab, one: Chain, port: number): Promise<void> {
  const file = `${lab.folder}/haproxy.cfg`
  const config = `global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen mesh
  bind 0.0.0.0:${port} backlog 8192
  server back ${one.backAddress}:80
`
  writeFileSync(file, config)
  const daemon = one.front.spawn([command('haproxy'), '-db', '-f', file])
  const target = `http://${one.frontAddress}:${port}/`
  const answers = async (): Promise<boolean> => {
    if (!daemon.running)
      throw new Error(`haproxy ended: ${daemon.stderr.trim().split('\n').at(-1)}`)
    return (await one.client.probe.try('get', target)).status === 200
  }
  await waitFor(answers, { what: 'haproxy to answer' })
  await one.client.release()
}
