// Watches one file by its directory, so that it is seen however it is replaced: written in place,
// renamed over (editors, atomic writers), or reached through a symbolic link that is switched, be
// it the file (a Kubernetes volume: tables.json -> ..data/tables.json, and ..data is what changes)
// or a folder on the way to it (/srv/current -> /srv/v2). Every directory is watched in which a
// link of the path stands.
//
// Events only make it look: what counts is whether the file that the path leads to is another one
// or has another size or time. It looks when the directory has been quiet for RELOAD_QUIET_MS, so
// that a writer in several steps is seen once; a file that is not there at that moment is not
// reported.

import { type FSWatcher, readlinkSync, statSync, watch } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { RELOAD_QUIET_MAX_MS, RELOAD_QUIET_MS } from './limits.ts'

export interface FileWatcher {
  close(): void
}

function fingerprint(path: string): string | null {
  try {
    const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true })
    return `${dev}/${ino}/${size}/${mtimeNs}`
  } catch {
    return null
  }
}

/** Links followed before a path is given up: as the kernel does (path_resolution(7)). */
const LINKS_MAX = 40

/** The directories whose events can change what `path`, an absolute one, leads to: the file's own
 * and those in which its links stand; real paths. Of what is not there now it is the directory
 * where it will be. */
function directoriesOf(path: string): Set<string> {
  const directories = new Set<string>()
  let names = namesOf(path)
  let directory = '/'
  for (let links = 0; names.length > 0 && links <= LINKS_MAX; ) {
    const name = names.shift()!
    const place = join(directory, name)
    const target = name === '..' ? '' : linkTarget(place)
    if (target === null || target !== '' || names.length === 0) directories.add(directory)
    if (target === null) break
    if (target === '') {
      directory = place
      continue
    }
    links++
    if (isAbsolute(target)) directory = '/'
    names = [...namesOf(target), ...names]
  }
  return directories
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}

/** Where a link leads; "" for what is no link, null for what is not there. */
function linkTarget(path: string): string | null {
  try {
    return readlinkSync(path)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EINVAL' ? '' : null
  }
}

/** Calls `onChange` after `path` has changed, and `onBlind` when changes can no longer be seen
 * (then only with the reason; the watcher goes on with what it still sees). */
export function watchFile(
  path: string,
  onChange: () => void,
  onBlind: (reason: string) => void,
): FileWatcher {
  const watchers = new Map<string, FSWatcher>()
  let known = fingerprint(path)
  let timer: NodeJS.Timeout | null = null
  let sinceMs = 0

  const look = (): void => {
    timer = null
    follow()
    const current = fingerprint(path)
    if (current === null || current === known) return
    known = current
    onChange()
  }
  const touch = (): void => {
    const nowMs = performance.now()
    if (timer === null) sinceMs = nowMs
    else clearTimeout(timer)
    const waitMs = Math.min(RELOAD_QUIET_MS, sinceMs + RELOAD_QUIET_MAX_MS - nowMs)
    timer = setTimeout(look, Math.max(0, waitMs))
  }
  /** Brings the watchers in line with where the path leads now. */
  const follow = (): void => {
    const wanted = directoriesOf(path)
    for (const [directory, watcher] of watchers) {
      if (wanted.has(directory)) continue
      watcher.close()
      watchers.delete(directory)
    }
    for (const directory of wanted) {
      if (watchers.has(directory)) continue
      try {
        const watcher = watch(directory, { persistent: false }, touch)
        watcher.on('error', (error) => {
          watcher.close()
          watchers.delete(directory)
          onBlind(error.message)
        })
        watchers.set(directory, watcher)
      } catch (error) {
        onBlind((error as Error).message)
      }
    }
  }
  follow()
  // What changed between the first look and the first watch.
  touch()
  return {
    close() {
      if (timer !== null) clearTimeout(timer)
      for (const watcher of watchers.values()) watcher.close()
      watchers.clear()
    },
  }
}
