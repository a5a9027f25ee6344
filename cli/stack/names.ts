// The names of a stack: those of the file, and what they are in the cluster.

/** What belongs to the whole stack and a service refers to. */
export interface StackNames {
  readonly namespace: string
  /** Names in the file to names in the cluster. */
  readonly networks: ReadonlyMap<string, string>
  readonly secrets: ReadonlyMap<string, string>
  readonly configs: ReadonlyMap<string, string>
  readonly volumes: ReadonlyMap<string, VolumePlan>
  /** Directory of the compose file: relative paths begin there. */
  readonly directory: string
  readonly readText: (path: string) => string
}

export interface VolumePlan {
  readonly name: string
  readonly driver: string
  readonly options: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}
