// A user as Docker lets it be written ("www-data", "33", "www-data:adm", "33:4") as numbers, by the
// passwd(5) and group(5) of the task's own root.

import { readFileSync } from 'node:fs'
import { TaskError } from '../executor.ts'

function rows(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
  } catch {
    return []
  }
}

const isNumber = (text: string): boolean => /^\d{1,10}$/.test(text)

/** `root`: '' for the host's. Throws TaskError for a name that is not there. */
export function userNumbers(user: string, root: string): { uid: number; gid: number } {
  const [name = '', group] = user.split(':')
  const users = rows(`${root}/etc/passwd`)
  let uid = 0
  let gid = 0
  if (name !== '') {
    const known = users.find((row) => row[0] === name || (isNumber(name) && row[2] === name))
    if (known === undefined && !isNumber(name)) {
      throw new TaskError(`unable to find user ${name}: no matching entries in passwd file`)
    }
    uid = Number(known?.[2] ?? name)
    gid = Number(known?.[3] ?? 0)
  }
  if (group !== undefined && group !== '') {
    const known = rows(`${root}/etc/group`).find((row) => row[0] === group)
    if (known === undefined && !isNumber(group)) {
      throw new TaskError(`unable to find group ${group}: no matching entries in group file`)
    }
    gid = Number(known?.[2] ?? group)
  }
  return { uid, gid }
}
