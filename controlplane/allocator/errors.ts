// What cannot be allocated, in a sentence for the user: it stands in `docker service ps`.

export class AllocationError extends Error {
  override readonly name: string = 'AllocationError'
}

/** Undoes what was taken so far when a later part fails. */
export class Taken {
  private readonly undo: (() => void)[] = []

  push(release: () => void): void {
    this.undo.push(release)
  }

  release(): void {
    for (const release of this.undo.splice(0)) release()
  }
}
