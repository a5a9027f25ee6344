export const MUTATIONS: ReadonlyMap<string, () => () => void> = new Map()
