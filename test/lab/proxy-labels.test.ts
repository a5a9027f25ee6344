// Goal: a label gives a published port PROXY headers, and takes them away again, while the service
// runs. Method: a swarm of two whose one task is nginx, which names the client by the header and by
// the packets; asked at both nodes; services created and changed by command.

import './enter.ts'
import { run } from '../../cli/lab/process.ts'
import { Swarm } from '../../cli/lab/swarm.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const PORT = 8080
const LABEL = `weft.port.${PORT}.proxy-protocol`

/** Where the task has a file system of its own. */
const FOLDER = '/mnt'
const SAYS = 'return 200 "[$proxy_protocol_addr] [$remote_addr]";'
/** One server that reads headers and one that does not. */
const CONFIG: string = `
user root; daemon off; master_process off; pid ${FOLDER}/pid;
events { worker_connections 64; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${FOLDER}/${name};`)
    .join(' ')}
  server {
    listen 80 proxy_protocol;
    listen [::]:80 proxy_protocol;
    location / { ${SAYS} }
  }
  server { listen 81; listen [::]:81; location / { ${SAYS} } }
}
`
const START: string =
  `printf %s "$0" > ${FOLDER}/nginx.conf; ` +
  `exec nginx -c ${FOLDER}/nginx.conf -p ${FOLDER} -e ${FOLDER}/error.log`

labTest('the label of a published port', async (t, lab) => {
  for (const program of ['nginx', 'curl']) {
    if ((await run([program, '--version'])).status === 127) {
      t.pass(program, { skip: `${program} is not installed` })
      return
    }
  }
  const swarm = await Swarm.start(lab, { count: 2 })
  const [first] = swarm.nodes
  const mount = ['--mount', `type=tmpfs,target=${FOLDER}`]
  const command = ['host', 'sh', '-c', START, CONFIG]
  const port = ['--name', 'web', '-p', `${PORT}:80`]
  const create = ['service', 'create', '--detach', ...port, ...mount]

  for (const [label, words] of [
    [`${LABEL}=v3`, 'must be v1 or v2, not "v3"'],
    ['weft.port.80.proxy-protocol=v1', 'the service does not publish port 80'],
  ] as const) {
    const { status, stderr } = await first!.weft(...create, '--label', label, ...command)
    t.equal(status, 1)
    t.match(stderr, words)
  }
  const made = await first!.weft(...create, '--label', `${LABEL}=v1`, ...command)
  t.equal(made.status, 0, made.stderr)
  await swarm.converged('web', 1)
  /** What every node answers to a client of either family: who it is by the header, `isNamed`, and
   * by the packets. */
  const answers = async (isNamed: boolean): Promise<void> => {
    for (const { host } of swarm.nodes) {
      for (const family of ['address', 'address6'] as const) {
        const client = swarm.client[family]
        const wanted = `[${isNamed ? client : ''}] [${client}]`
        const asked = family === 'address' ? host.address : `[${host.address6}]`
        const ask = ['curl', '-s', '-m', '5', `http://${asked}:${PORT}/`]
        await waitFor(async () => (await swarm.client.exec(ask)).stdout === wanted, {
          what: `"${wanted}" at ${host.name}`,
          timeoutMs: 30_000,
        })
      }
    }
  }
  await answers(true)
  const update = async (...args: readonly string[]): Promise<void> => {
    const { status, stderr } = await first!.weft('service', 'update', '--detach', ...args, 'web')
    t.equal(status, 0, stderr)
  }
  await update('--label-add', `${LABEL}=v2`)
  await answers(true)
  await answers(true)
  const gone = await first!.weft('service', 'update', '--detach', '--publish-rm', '80', 'web')
  t.match([gone.status, gone.stderr], [1, `the service does not publish port ${PORT}`])
  // Port and server change together.
  const other = `published=${PORT},target=81`
  await update('--label-rm', LABEL, '--publish-rm', '80', '--publish-add', other)
  await answers(false)
})
