// A registry of one image, for those who have its password: node registry.ts PORT TAR
// USER:PASSWORD. The image is PORT's "app:1", its one layer the file TAR. It speaks as much of the
// distribution API as a pull needs (opencontainers/distribution-spec), by HTTP on the loopback
// address.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import process from 'node:process'
import { gzipSync } from 'node:zlib'

const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
const CONFIG = 'application/vnd.docker.container.image.v1+json'
const LAYER = 'application/vnd.docker.image.rootfs.diff.tar.gzip'

const [port = '', tar = '', credentials = ''] = process.argv.slice(2)

const digestOf = (bytes: Buffer): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const described = (mediaType: string, bytes: Buffer) => ({
  mediaType,
  size: bytes.length,
  digest: digestOf(bytes),
})

const layer = readFileSync(tar)
const packed = gzipSync(layer, { level: 1 })
const config = json({
  architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
  os: 'linux',
  config: { Cmd: ['sleep', '100000'] },
  rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
})
const manifest = json({
  schemaVersion: 2,
  mediaType: MANIFEST,
  config: described(CONFIG, config),
  layers: [described(LAYER, packed)],
})
const things = new Map<string, readonly [string, Buffer]>([
  ['/v2/', ['application/json', json({})]],
  ['/v2/app/manifests/1', [MANIFEST, manifest]],
  [`/v2/app/manifests/${digestOf(manifest)}`, [MANIFEST, manifest]],
  [`/v2/app/blobs/${digestOf(config)}`, ['application/octet-stream', config]],
  [`/v2/app/blobs/${digestOf(packed)}`, ['application/octet-stream', packed]],
])
const wanted = `Basic ${Buffer.from(credentials).toString('base64')}`

createServer((request, response) => {
  if (request.headers.authorization !== wanted) {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="lab"' })
    response.end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}')
    return
  }
  const thing = things.get(request.url ?? '')
  if (thing === undefined) {
    response.writeHead(404)
    response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
    return
  }
  const [type, bytes] = thing
  response.writeHead(200, {
    'content-type': type,
    'content-length': bytes.length,
    'docker-content-digest': digestOf(bytes),
    'docker-distribution-api-version': 'registry/2.0',
  })
  response.end(request.method === 'HEAD' ? undefined : bytes)
}).listen(Number(port), '127.0.0.1', () => process.stdout.write('the registry is up\n'))
