// Fetching images. An image is fetched for every task, so that a tag that has moved is followed;
// one that is named by its digest, or by its id, and is there, is not. Tasks that want the same
// image at the same time wait for the same pull.
//
// A pull that fails is told in the log and no more: the image may be there from before. If it is
// not, the engine says "No such image" when the container is made (moby, container/controller.go).

import type Docker from 'dockerode'
import type { Logger } from '../../../base/log.ts'
import type { ContainerSpec } from '../../store/specs.ts'
import { wordsOf } from './engine-error.ts'
import { TEXT_MAX } from './limits.ts'

const PINNED = /@sha256:[0-9a-f]{64}$/
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/

export class Puller {
  readonly #docker: Docker
  readonly #log: Logger
  /** Under way, by image and credentials. */
  readonly #pulls = new Map<string, Promise<void>>()

  constructor(docker: Docker, log: Logger) {
    this.#docker = docker
    this.#log = log
  }

  /** Never rejects. Who stops waiting leaves the pull to others, and to later. */
  pull(spec: ContainerSpec, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        signal.removeEventListener('abort', finish)
        resolve()
      }
      signal.addEventListener('abort', finish)
      if (signal.aborted) finish()
      else void this.#shared(spec).then(finish)
    })
  }

  #shared({ Image: image, PullOptions: options }: ContainerSpec): Promise<void> {
    const auth = options?.RegistryAuth ?? ''
    const key = `${image} ${auth}`
    const running = this.#pulls.get(key)
    if (running !== undefined) return running
    const pulling = this.#pull(image, auth)
      .catch((error: unknown) => {
        const text = wordsOf(error).slice(0, TEXT_MAX)
        this.#log.warn('pulling an image failed', { image, error: text })
      })
      .finally(() => this.#pulls.delete(key))
    this.#pulls.set(key, pulling)
    return pulling
  }

  async #pull(image: string, auth: string): Promise<void> {
    if (PINNED.test(image) || IMAGE_ID.test(image)) {
      const isThere = await this.#docker
        .getImage(image)
        .inspect()
        .then(
          () => true,
          () => false,
        )
      if (isThere || IMAGE_ID.test(image)) return
    }
    const options = auth === '' ? {} : { authconfig: { base64: auth } }
    const progress = (await this.#docker.pull(image, options)) as NodeJS.ReadableStream
    await new Promise<void>((pulled, fail) => {
      this.#docker.modem.followProgress(progress, (error: Error | null) =>
        error === null ? pulled() : fail(error),
      )
    })
  }
}
