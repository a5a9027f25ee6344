// The two scripts by which a task lives without the agent. Both are pure text.
//
//   run.sh    detached from the agent, which may end and come back. Enters the task's network
//             namespace, makes the others, waits, and leaves the exit status in a file.
//   inside.sh process 1 of the new PID namespace: mounts, starts the command, passes signals on,
//             reaps what is orphaned, ends with the command.
//
//   agent --spawn--> run.sh ... unshare ... inside.sh ... the command
//                      |                       |
//              pid, exit, out, err         descriptor 3: "running", or why not
//
// Nothing secret is in an argument: the environment stands in inside.sh, which only its owner reads
// and which is deleted once it has been read.
//
// What the agent or the shell itself can do is no command here: each costs a task a millisecond of
// its start, and they start by the hundred.

import type { Plan, PlannedMount } from './plan.ts'
import { quoted as q } from './shell.ts'

/** What a script needs besides the plan: where things are on this host. */
export interface Place {
  /** The task's directory, absolute. */
  readonly directory: string
  /** Path of the network namespace; null = the host's. */
  readonly namespace: string | null
  /** Root file system to lay a writable layer over; null = the host's. */
  readonly root: string | null
  /** Numbers of the plan's user. */
  readonly uid: number
  readonly gid: number
  /** Host path of each of the plan's mounts, '' for a tmpfs. */
  readonly sources: readonly string[]
  /** Secrets and configs, and where they are to be seen. */
  readonly files: readonly { readonly path: string; readonly target: string }[]
  /** Files `cgroup.procs` (or `tasks`) to join. */
  readonly groups: readonly string[]
  /** OWN_FILES, and where the task finds them: links are followed already. */
  readonly ownFiles: readonly { readonly name: string; readonly path: string }[]
}

/** Files of a task's own, below /etc. */
export const OWN_FILES = ['hosts', 'resolv.conf', 'hostname'] as const

const FORWARDED = 'HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH'

/** Descriptors at which run.sh finds the terminal, where there is one. */
export const TERMINAL_MASTER = 5
export const TERMINAL_SLAVE = 6

/** `isTty`: what is written to the terminal goes to `out`, by a reader that lives as long as the
 * task does, so that the agent is not needed for it. */
export function runScript({ directory, namespace, groups }: Place, isTty = false): string {
  const terminal = ['cat <&5 >> out 2> /dev/null 5<&- 6<&- &', 'reader=$!', 'exec 5<&-']
  const enter = namespace === null ? '' : `nsenter --net=${q(namespace)} -- `
  const lines = [
    '#!/bin/sh',
    `cd ${q(directory)} || exit 1`,
    'read -r line < /proc/$$/stat',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a parameter of the shell
    'echo "$$ ${line##*) }" > pid.new && mv pid.new pid',
    'exec 3>> state',
    ...(isTty ? terminal : []),
    ...groups.map((file) => `echo $$ > ${q(file)} || echo "cannot join ${file}" >&3`),
    `${enter}unshare --mount --pid --ipc --uts --propagation private \\`,
    '  --fork --kill-child \\',
    // Opened out here: what is open for writing inside would keep a root from being read-only.
    '  sh ./inside.sh > /dev/null 2> why < /dev/null 4>> done 7>> out 8>> err',
    'status=$?',
    ...(isTty ? ['exec 6<&-; wait "$reader"'] : []),
    '# unshare cannot tell that its child was killed: then nobody has left a status in "done".',
    "[ -s done ] || ! grep -qs '^running' state || status=137",
    'echo "$status" > exit.new && mv exit.new exit',
  ]
  return `${lines.join('\n')}\n`
}

export function insideScript(plan: Plan, place: Place): string {
  return `${[
    '# Says why, for the agent, and ends.',
    'fail() { echo "$*" >&3; echo 125 >&4; exit 125; }',
    'exec >&7 2>&8 7>&- 8>&-',
    `{ echo ${q(plan.hostname)} > /proc/sys/kernel/hostname; } 2> /dev/null ||`,
    `  hostname ${q(plan.hostname)} 2> /dev/null || true`,
    ...rootLines(plan, place),
    ...sysctlLines(plan),
    ...startLines(plan, place),
  ].join('\n')}\n`
}

/** Where a path of the task's view is while the mounts are made. */
function seen(place: Place, target: string): string {
  if (place.root !== null) return `${place.directory}/root${target}`
  return /^\/run(\/|$)/.test(target) ? `${place.directory}/run${target.slice(4)}` : target
}

function rootLines(plan: Plan, place: Place): string[] {
  const here = place.directory
  const lines: string[] = []
  if (place.root === null) {
    // A /run of its own: the sockets of the host, the agent's among them, are not the task's.
    lines.push(
      `mount -t tmpfs -o mode=0755 tmpfs ${q(`${here}/run`)} || fail "cannot mount /run"`,
      `mkdir -p ${q(`${here}/run/lock`)}`,
    )
  } else lines.push(...layerLines(place.root, here))
  lines.push(...fileLines(place))
  plan.mounts.forEach((mount, m) => {
    lines.push(...mountLines(mount, place.sources[m]!, place))
  })
  if (place.root === null) {
    if (plan.readOnly) {
      // The last moment to delete what stands on it: the shell has it open.
      lines.push('rm -f inside.sh')
      lines.push('mount -o remount,bind,ro / || fail "cannot make the root read-only"')
    }
    lines.push(
      `mount -n --move ${q(`${here}/run`)} /run || fail "cannot mount /run"`,
      'mount -t proc proc /proc 2> /dev/null || true',
    )
  } else {
    const root = `${here}/root`
    lines.push(
      ...['proc', 'sys', 'dev', 'tmp'].map(
        (name) => `mkdir -p ${q(`${root}/${name}`)} 2> /dev/null`,
      ),
      `mount -t proc proc ${q(`${root}/proc`)} || fail "cannot mount /proc"`,
      `mount --rbind /dev ${q(`${root}/dev`)} || fail "cannot mount /dev"`,
      `mount -t sysfs -o ro sysfs ${q(`${root}/sys`)} 2> /dev/null || true`,
    )
    if (plan.readOnly) {
      lines.push(`mount -o remount,bind,ro ${q(root)} || fail "cannot make the root read-only"`)
    }
  }
  return lines
}

/** A writable layer over the image, which itself stays as it is; a copy where the kernel has no
 * overlayfs for us. */
function layerLines(image: string, here: string): string[] {
  const lower = image.replace(/[\\:,]/g, '\\$&')
  const options = `lowerdir=${lower},upperdir=${here}/upper,workdir=${here}/work`
  return [
    `mkdir -p ${q(`${here}/upper`)} ${q(`${here}/work`)} ${q(`${here}/root`)}`,
    `if ! mount -t overlay -o ${q(options)} overlay ${q(`${here}/root`)} 2> /dev/null; then`,
    `  [ -e ${q(`${here}/copied`)} ] || {`,
    `    cp -a --reflink=auto ${q(`${image}/.`)} ${q(`${here}/root`)} ||`,
    '      fail "cannot copy the image"',
    `    : > ${q(`${here}/copied`)}`,
    '  }',
    `  mount --bind ${q(`${here}/root`)} ${q(`${here}/root`)} || fail "cannot mount the root"`,
    'fi',
  ]
}

/** Binds a file over \`target\`, which is made where the file system lets us. */
function bindFile(path: string, target: string, shown: string, readOnly: boolean): string[] {
  const place = `cannot place ${shown.replace(/["$`\\]/g, '')}`
  const why = `fail "${place}: make it below /run, or have the file there"`
  const parent = target.replace(/\/[^/]*$/, '') || '/'
  return [
    `[ -d ${q(parent)} ] || mkdir -p ${q(parent)} 2> /dev/null`,
    `[ -e ${q(target)} ] || : > ${q(target)} || ${why}`,
    `mount --bind ${q(path)} ${q(target)} || ${why}`,
    ...(readOnly ? [`mount -o remount,bind,ro ${q(target)} || ${why}`] : []),
  ]
}

function fileLines(place: Place): string[] {
  const here = place.directory
  const lines: string[] = []
  for (const { name, path } of place.ownFiles) {
    // On the host the file may be a link into /run, whose place is empty now.
    const at = seen(place, path)
    if (place.root !== null) {
      // A link of the image must not lead out of it.
      lines.push(`[ -L ${q(at)} ] && rm -f ${q(at)}`)
      lines.push(...bindFile(`${here}/${name}`, at, path, false))
      continue
    }
    const parent = q(at.replace(/\/[^/]*$/, ''))
    lines.push(
      `[ -d ${parent} ] || mkdir -p ${parent} 2> /dev/null`,
      `[ -e ${q(at)} ] || { : > ${q(at)}; } 2> /dev/null`,
      `[ ! -e ${q(at)} ] || mount --bind ${q(`${here}/${name}`)} ${q(at)} ||`,
      `  fail "cannot place /etc/${name}"`,
    )
  }
  for (const { path, target } of place.files) {
    lines.push(...bindFile(path, seen(place, target), target, true))
  }
  return lines
}

function mountLines(mount: PlannedMount, source: string, place: Place): string[] {
  const target = seen(place, mount.target)
  const why = `fail "cannot mount ${mount.target.replace(/["$`\\]/g, '')}"`
  const lines: string[] = []
  if (mount.kind !== 'tmpfs') {
    lines.push(
      `if [ -d ${q(source)} ]; then mkdir -p ${q(target)} 2> /dev/null; else`,
      `  mkdir -p ${q(target.replace(/\/[^/]*$/, '') || '/')} 2> /dev/null`,
      `  [ -e ${q(target)} ] || : > ${q(target)}; fi`,
      `mount --rbind ${q(source)} ${q(target)} || ${why}`,
      `mount --make-${mount.propagation} ${q(target)} || ${why}`,
      ...(mount.readOnly ? [`mount -o remount,bind,ro ${q(target)} || ${why}`] : []),
    )
  } else {
    const options = mount.readOnly ? `ro,${mount.options}` : mount.options
    lines.push(
      `mkdir -p ${q(target)} 2> /dev/null`,
      `mount -t tmpfs -o ${q(options)} tmpfs ${q(target)} || ${why}`,
    )
  }
  return lines
}

function sysctlLines(plan: Plan): string[] {
  return plan.sysctls.map(
    ([path, value]) =>
      `echo ${q(value)} > /proc/sys/${path} 2> /dev/null || fail "cannot set sysctl ${path}"`,
  )
}

function startLines(plan: Plan, place: Place): string[] {
  const { uid, gid } = place
  const limits = plan.limits.map(([name, soft, hard]) => {
    const bound = (value: number): string => (value < 0 ? 'unlimited' : String(value))
    return q(`--${name}=${bound(soft)}:${bound(hard)}`)
  })
  const terminal = plan.isTty ? ['setsid', '--ctty'] : []
  const words: string[] = ['exec', ...terminal, 'env', '-i', '--default-signal']
  words.push(...plan.environment.map(q))
  if (limits.length > 0) words.push('prlimit', ...limits, '--')
  if (plan.noNewPrivileges) words.push('setpriv', '--no-new-privs')
  const isPlain = place.root === null && uid === 0 && gid === 0
  if (!isPlain) {
    words.push('unshare', `--wd=${q(plan.directory)}`)
    if (place.root !== null) words.push(`--root=${q(`${place.directory}/root`)}`)
    if (uid !== 0 || gid !== 0) words.push(`--setgid=${gid}`, `--setuid=${uid}`)
    words.push('--')
  }
  const oom = plan.oomScoreAdjust
  return [
    'rm -f inside.sh',
    `cd ${isPlain ? q(plan.directory) : '/'} || fail "no such directory"`,
    `trap 'kill -s TERM "$child" 2> /dev/null' TERM`,
    `for name in ${FORWARDED}; do trap "kill -s $name \\$child 2> /dev/null" "$name"; done`,
    '(',
    ...(oom === null ? [] : [`  echo ${oom} > /proc/self/oom_score_adj 2> /dev/null`]),
    '  echo running >&3; exec 3>&- 4>&-',
    ...(plan.isTty ? ['  exec <&6 >&6 2>&6 6<&-'] : []),
    `  ${words.join(' ')} ${plan.command.map(q).join(' ')}`,
    ') &',
    'child=$!',
    `exec 3>&-${plan.isTty ? ' 6<&-' : ''}`,
    'while :; do',
    '  wait "$child"; status=$?',
    '  kill -0 "$child" 2> /dev/null || { echo "$status" >&4; exit "$status"; }',
    'done',
  ]
}
