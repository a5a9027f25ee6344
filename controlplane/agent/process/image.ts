// What the process executor takes for an image:
//
//   host            the files of this host
//   file:///DIR     a root file system, or an OCI image layout (image-spec, image-layout.md),
//                   which is unpacked once
//
// Everything else would have to come from a registry, which is Docker's business.

import { createHash } from 'node:crypto'
import { existsSync, lstatSync, readdirSync } from 'node:fs'
import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TaskError } from '../executor.ts'
import { OCI_DOCUMENT_BYTES_MAX, OCI_LAYERS_MAX } from './limits.ts'
import { execute, type StartProgram } from './shell.ts'

/** What an image says of itself (image-spec, config.md). */
export interface ImageConfig {
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly directory: string
  readonly user: string
  readonly stopSignal: string
  readonly labels: Readonly<Record<string, string>>
}

export interface Image {
  /** Directory of the root file system, never written to; null = the host's own. */
  readonly root: string | null
  readonly config: ImageConfig
}

const EMPTY_CONFIG: ImageConfig = {
  entrypoint: [],
  command: [],
  environment: [],
  directory: '/',
  user: '',
  stopSignal: '',
  labels: {},
}

/** Finds, and if need be unpacks, an image. Rejects with Docker's words for one that is not
 * there. */
export async function findImage(
  name: string,
  imagesDirectory: string,
  startProgram: StartProgram,
): Promise<Image> {
  if (/^host(:latest)?$/.test(name)) return { root: null, config: EMPTY_CONFIG }
  const file = /^file:\/\/(\/[^\0]*)$/.exec(name)
  if (file === null) {
    throw new TaskError(
      `No such image: ${name} (the process runtime takes "host" and "file:///DIR")`,
    )
  }
  const directory = decodeURI(file[1]!)
  const found = await stat(directory).catch(() => null)
  if (!found?.isDirectory()) throw new TaskError(`No such image: ${name}`)
  if (!existsSync(join(directory, 'oci-layout'))) {
    return { root: directory, config: EMPTY_CONFIG }
  }
  return unpackOci(directory, imagesDirectory, startProgram)
}

interface Descriptor {
  readonly mediaType?: string
  readonly digest: string
  readonly platform?: { readonly architecture?: string; readonly os?: string }
}

const ARCHITECTURE = process.arch === 'arm64' ? 'arm64' : 'amd64'

async function unpackOci(
  layout: string,
  imagesDirectory: string,
  startProgram: StartProgram,
): Promise<Image> {
  try {
    const manifest = await findManifest(layout, join(layout, 'index.json'), 0)
    const document = JSON.parse(await readBounded(manifest.path)) as {
      config: Descriptor
      layers: Descriptor[]
    }
    if (document.layers.length > OCI_LAYERS_MAX) throw new Error('it has too many layers')
    const config = JSON.parse(await readBounded(await blob(layout, document.config)))
    const root = join(imagesDirectory, manifest.digest.replace(':', '-'))
    if (!existsSync(root)) await unpackLayers(layout, document.layers, root, startProgram)
    return { root, config: imageConfig(config) }
  } catch (error) {
    if (error instanceof TaskError) throw error
    throw new TaskError(`image file://${layout} cannot be used: ${(error as Error).message}`)
  }
}

/** Follows indexes to the manifest for this machine. */
async function findManifest(
  layout: string,
  path: string,
  depth: number,
): Promise<{ path: string; digest: string }> {
  if (depth > 3) throw new Error('its indexes are nested too deeply')
  const index = JSON.parse(await readBounded(path)) as { manifests?: Descriptor[] }
  const fits = (index.manifests ?? []).find(
    ({ platform }) =>
      platform === undefined || (platform.os === 'linux' && platform.architecture === ARCHITECTURE),
  )
  if (fits === undefined) throw new Error(`it has nothing for linux/${ARCHITECTURE}`)
  const next = await blob(layout, fits)
  if (/index|manifest\.list/.test(fits.mediaType ?? '')) {
    return findManifest(layout, next, depth + 1)
  }
  return { path: next, digest: fits.digest }
}

/** Path of a blob whose content is what its digest says. */
async function blob(layout: string, { digest }: Descriptor): Promise<string> {
  const match = /^sha256:([0-9a-f]{64})$/.exec(digest)
  if (match === null) throw new Error(`digest ${digest} is not supported`)
  const path = join(layout, 'blobs', 'sha256', match[1]!)
  const sum = createHash('sha256')
  const { createReadStream } = await import('node:fs')
  for await (const chunk of createReadStream(path)) sum.update(chunk as Buffer)
  if (sum.digest('hex') !== match[1]) throw new Error(`blob ${digest} is damaged`)
  return path
}

async function readBounded(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > OCI_DOCUMENT_BYTES_MAX) throw new Error(`${path} is too large`)
  return readFile(path, 'utf8')
}

async function unpackLayers(
  layout: string,
  layers: readonly Descriptor[],
  root: string,
  startProgram: StartProgram,
): Promise<void> {
  const building = `${root}.new-${process.pid}`
  await rm(building, { recursive: true, force: true })
  await mkdir(building, { recursive: true, mode: 0o755 })
  for (const layer of layers) {
    const path = await blob(layout, layer)
    const zip = /gzip/.test(layer.mediaType ?? '') ? ['-z'] : []
    if (/zstd/.test(layer.mediaType ?? '')) zip.push('--zstd')
    const names = ['--extract', '--file', path, '--directory', building, ...zip]
    const words = [...names, '--numeric-owner']
    const { status, output } = await execute(startProgram, 'tar', words)
    if (status !== 0) throw new Error(`layer ${layer.digest}: ${output.trim()}`)
    await applyWhiteouts(building)
  }
  await rename(building, root)
}

const WHITEOUT = '.wh.'
const OPAQUE = '.wh..wh..opq'

/** A file `.wh.NAME` says that NAME of the layers below is gone (image-spec, layer.md). An opaque
 * mark would need the layers apart: what came with this layer cannot be told from what was
 * there. */
async function applyWhiteouts(directory: string): Promise<void> {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.name === OPAQUE) throw new Error('opaque whiteouts are not supported')
    if (entry.name.startsWith(WHITEOUT)) {
      await rm(join(directory, entry.name.slice(WHITEOUT.length)), { recursive: true, force: true })
      await rm(path, { force: true })
    } else if (entry.isDirectory() && lstatSync(path).isDirectory()) {
      await applyWhiteouts(path)
    }
  }
}

const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
const text = (value: unknown, otherwise: string): string =>
  typeof value === 'string' && value !== '' ? value : otherwise

function imageConfig(document: unknown): ImageConfig {
  const config = ((document as { config?: unknown }).config ?? {}) as Record<string, unknown>
  return {
    entrypoint: texts(config.Entrypoint),
    command: texts(config.Cmd),
    environment: texts(config.Env),
    directory: text(config.WorkingDir, '/'),
    user: text(config.User, ''),
    stopSignal: text(config.StopSignal, ''),
    labels: (config.Labels ?? {}) as Record<string, string>,
  }
}
