// The checks of tidy.test.ts, as functions from source files to complaints. A complaint is a line
// of text that names the place and says what to do instead. Nothing here reads a file or knows the
// project: the rules are parameters, so that each check can be shown to fail on a few lines of
// made-up source.
//
// The checks read text, not syntax trees: blank() removes comments, strings and regular
// expressions, and what is left is simple enough for patterns and a brace counter.

import { dirname, normalize } from 'node:path/posix'

export interface SourceFile {
  /** Path from the project's root, with forward slashes. */
  readonly path: string
  readonly text: string
}

/** Who may import whom. The rule with the longest `folder` that contains a file is the file's. */
export interface ImportRule {
  readonly folder: string
  /** Folders (by their rules) or single files it may import besides its own; '*' = every one. */
  readonly folders: readonly string[]
  /** Files of which only types may be imported. */
  readonly types?: readonly string[]
  /** Packages it may import; 'node:*' = every builtin, '*' = every package. */
  readonly packages: readonly string[]
}

export interface Import {
  readonly specifier: string
  readonly line: number
  readonly typeOnly: boolean
  /** Named by a `new URL()`: started as a worker or child, not loaded. */
  readonly started: boolean
}

/** The text with the insides of comments, strings, templates and regular expressions blanked;
 * line breaks and all other characters stay where they are. */
export function blank(text: string): string {
  const out = text.split('')
  const wipe = (from: number, to: number): void => {
    for (let i = from; i < to; i++) if (out[i] !== '\n') out[i] = ' '
  }
  const templates: number[] = [] // Brace depth at which each open ${ closes.
  let depth = 0
  let i = 0
  while (i < text.length) {
    const c = text[i]!
    if (text.startsWith('//', i)) {
      const end = indexOrEnd(text, '\n', i)
      wipe(i, end)
      i = end
    } else if (text.startsWith('/*', i)) {
      const end = indexOrEnd(text, '*/', i + 2)
      wipe(i, end + 2)
      i = end + 2
    } else if (c === "'" || c === '"') {
      const end = closing(text, i + 1, c)
      wipe(i + 1, end)
      i = end + 1
    } else if (c === '`' || (c === '}' && templates.at(-1) === depth)) {
      if (c === '}') templates.pop()
      const { end, opens } = templateEnd(text, i + 1)
      wipe(i, end)
      if (opens) templates.push(depth)
      i = opens ? end + 2 : end + 1
      if (opens) wipe(end, end + 2)
    } else if (c === '/' && startsExpression(text, i)) {
      const end = regexEnd(text, i + 1)
      wipe(i + 1, end)
      i = end + 1
    } else {
      if (c === '{') depth++
      if (c === '}') depth--
      i++
    }
  }
  return out.join('')
}

function indexOrEnd(text: string, needle: string, from: number): number {
  const found = text.indexOf(needle, from)
  return found < 0 ? text.length : found
}

function closing(text: string, from: number, quote: string): number {
  let i = from
  while (i < text.length && text[i] !== quote && text[i] !== '\n') i += text[i] === '\\' ? 2 : 1
  return i
}

function templateEnd(text: string, from: number): { end: number; opens: boolean } {
  let i = from
  while (i < text.length && text[i] !== '`') {
    if (text.startsWith('${', i)) return { end: i, opens: true }
    i += text[i] === '\\' ? 2 : 1
  }
  return { end: i, opens: false }
}

function regexEnd(text: string, from: number): number {
  let inClass = false
  let i = from
  while (i < text.length && text[i] !== '\n' && (inClass || text[i] !== '/')) {
    if (text[i] === '[') inClass = true
    if (text[i] === ']') inClass = false
    i += text[i] === '\\' ? 2 : 1
  }
  return i
}

/** True when a slash at `at` begins a regular expression rather than divides. */
function startsExpression(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - 20), at).trimEnd()
  return before === '' || /([=([{,;:!&|?+\-*<>~^%}]|\breturn|\bcase|\btypeof)$/.test(before)
}

function lineOf(text: string, offset: number): number {
  let line = 1
  for (let i = text.indexOf('\n'); i >= 0 && i < offset; i = text.indexOf('\n', i + 1)) line++
  return line
}

/** Every import, re-export, dynamic import and `new URL('x.ts', import.meta.url)` of a file. */
export function importsOf(text: string): Import[] {
  const code = blank(text)
  const found: Import[] = []
  const add = (at: number, specifierAt: number, typeOnly: boolean, started = false): void => {
    const quote = text[specifierAt]!
    const specifier = text.slice(specifierAt + 1, closing(text, specifierAt + 1, quote))
    found.push({ specifier, line: lineOf(text, at), typeOnly, started })
  }
  for (const m of code.matchAll(/^(?:import|export)\b([^'"`;=]*?)\bfrom\s*(['"])/gm))
    add(m.index, m.index + m[0].length - 1, isTypeOnly(m[1]!))
  for (const m of code.matchAll(/^import\s*(['"])/gm))
    add(m.index, m.index + m[0].length - 1, false)
  for (const m of code.matchAll(/\bimport\(\s*(['"])/g))
    add(m.index, m.index + m[0].length - 1, false)
  for (const m of code.matchAll(/\bnew URL\(\s*(['"])/g)) {
    const at = m.index + m[0].length - 1
    const target = text.slice(at + 1, closing(text, at + 1, m[1]!))
    if (/^\.{1,2}\/.*\.ts$/.test(target)) add(m.index, at, false, true)
  }
  return found
}

function isTypeOnly(clause: string): boolean {
  if (/^\s*type\b/.test(clause)) return true
  const names = /^\s*\{([^}]*)\}\s*$/.exec(clause)
  if (names === null) return false
  const list = names[1]!.split(',').filter((name) => name.trim() !== '')
  return list.length > 0 && list.every((name) => /^\s*type\s/.test(name))
}

/** The project file that `specifier` in `from` means, or null for a package. */
export function resolveImport(from: string, specifier: string): string | null {
  return specifier.startsWith('.') ? normalize(`${dirname(from)}/${specifier}`) : null
}

export function contains(folder: string, path: string): boolean {
  return path === folder || path.startsWith(`${folder}/`)
}

function ruleOf(rules: readonly ImportRule[], path: string): ImportRule | undefined {
  let best: ImportRule | undefined
  for (const rule of rules)
    if (contains(rule.folder, path) && rule.folder.length > (best?.folder.length ?? -1)) best = rule
  return best
}

/** Imports that the rules do not allow. `workspaces` maps package names to folders of the
 * project. */
export function checkImports(
  files: readonly SourceFile[],
  rules: readonly ImportRule[],
  workspaces: Readonly<Record<string, string>>,
): string[] {
  const complaints: string[] = []
  for (const { path, text } of files) {
    const rule = ruleOf(rules, path)
    if (rule === undefined) {
      complaints.push(`${path}: no import rule covers this folder`)
      continue
    }
    for (const found of importsOf(text)) {
      const { specifier, line } = found
      const target = resolveImport(path, specifier) ?? workspaces[specifier]
      const allowed =
        target === undefined
          ? packageAllowed(rule, specifier)
          : fileAllowed(rule, rules, target, found.typeOnly)
      if (!allowed) complaints.push(`${path}:${line}: ${rule.folder} may not import ${specifier}`)
    }
  }
  return complaints
}

function packageAllowed(rule: ImportRule, specifier: string): boolean {
  return rule.packages.some(
    (name) =>
      name === '*' ||
      (name === 'node:*' && specifier.startsWith('node:')) ||
      specifier === name ||
      specifier.startsWith(`${name}/`),
  )
}

function fileAllowed(
  rule: ImportRule,
  rules: readonly ImportRule[],
  target: string,
  typeOnly: boolean,
): boolean {
  const owner = ruleOf(rules, target)
  if (owner === rule || rule.folders.includes('*')) return true
  if (rule.folders.includes(target)) return true
  if (typeOnly && (rule.types?.includes(target) ?? false)) return true
  return owner !== undefined && rule.folders.includes(owner.folder)
}

/** Import cycles, each as "a > b > a". Imports of types count: what needs each other belongs
 * together or needs a third file. */
export function checkCycles(files: readonly SourceFile[]): string[] {
  const graph = new Map<string, string[]>()
  for (const { path, text } of files) {
    const targets = importsOf(text)
      .filter(({ started }) => !started)
      .map(({ specifier }) => resolveImport(path, specifier))
    graph.set(
      path,
      targets.filter((target) => target !== null),
    )
  }
  const complaints: string[] = []
  const state = new Map<string, 'open' | 'done'>()
  const trail: string[] = []
  const visit = (path: string): void => {
    state.set(path, 'open')
    trail.push(path)
    for (const next of graph.get(path) ?? []) {
      if (state.get(next) === 'open')
        complaints.push(`cycle: ${[...trail.slice(trail.indexOf(next)), next].join(' > ')}`)
      else if (!state.has(next) && graph.has(next)) visit(next)
    }
    trail.pop()
    state.set(path, 'done')
  }
  for (const path of graph.keys()) if (!state.has(path)) visit(path)
  return complaints
}

/** Files that neither an entry point nor a test reaches. An entry ending in '/' is a whole
 * folder. */
export function checkUnused(files: readonly SourceFile[], entries: readonly string[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file.text]))
  const reached = new Set<string>()
  const visit = (path: string): void => {
    const text = byPath.get(path)
    if (text === undefined || reached.has(path)) return
    reached.add(path)
    for (const { specifier } of importsOf(text)) {
      const target = resolveImport(path, specifier)
      if (target !== null) visit(target)
    }
  }
  for (const { path } of files) {
    const entry = entries.some((e) => (e.endsWith('/') ? path.startsWith(e) : path === e))
    if (entry || path.endsWith('.test.ts')) visit(path)
  }
  return files
    .filter(({ path }) => !reached.has(path))
    .map(({ path }) => `${path}: nothing imports it`)
}

export interface Ban {
  readonly pattern: RegExp
  readonly instead: string
}

/** Uses of what is banned outside `allowedIn`. */
export function checkBans(
  files: readonly SourceFile[],
  bans: readonly Ban[],
  allowedIn: (path: string) => boolean,
): string[] {
  const complaints: string[] = []
  for (const { path, text } of files) {
    if (allowedIn(path)) continue
    const code = blank(text)
    for (const { pattern, instead } of bans)
      for (const m of code.matchAll(new RegExp(pattern, 'g')))
        complaints.push(`${path}:${lineOf(text, m.index)}: ${m[0].trim()}: ${instead}`)
  }
  return complaints
}

export interface SizeLimits {
  readonly lineColumns: number
  readonly fileLines: number
  readonly functionLines: number
  /** Text in a file that explains why it is longer. */
  readonly longFileReason: string
  /** Functions that were longer before the rule, "path function", with the length they may not
   * exceed. */
  readonly ratchet: Readonly<Record<string, number>>
}

export function checkSizes(files: readonly SourceFile[], limits: SizeLimits): string[] {
  const complaints: string[] = []
  for (const { path, text } of files) {
    const lines = text.replace(/\n$/, '').split('\n')
    lines.forEach((line, i) => {
      if (line.length > limits.lineColumns)
        complaints.push(`${path}:${i + 1}: ${line.length} columns, over ${limits.lineColumns}`)
    })
    if (lines.length > limits.fileLines && !text.includes(limits.longFileReason))
      complaints.push(
        `${path}: ${lines.length} lines and no line says "${limits.longFileReason} ..."`,
      )
    for (const { name, line, lines: size } of functionsOf(text)) {
      const allowed = limits.ratchet[`${path} ${name}`] ?? limits.functionLines
      if (size > allowed)
        complaints.push(`${path}:${line}: ${name} has ${size} lines of ${allowed}`)
    }
  }
  return complaints
}

export interface FunctionSize {
  readonly name: string
  readonly line: number
  readonly lines: number
}

/** Every function body in braces, from its opening line to its closing one. */
export function functionsOf(text: string): FunctionSize[] {
  const code = blank(text)
  const open: { at: number; name: string | null }[] = []
  const found: FunctionSize[] = []
  for (let i = 0; i < code.length; i++) {
    if (code[i] === '{') open.push({ at: i, name: functionName(code, i) })
    if (code[i] !== '}') continue
    const block = open.pop()
    if (block === undefined || block.name === null) continue
    const line = lineOf(code, block.at)
    found.push({ name: block.name, line, lines: lineOf(code, i) - line + 1 })
  }
  return found.sort((a, b) => a.line - b.line)
}

const NOT_FUNCTIONS = new Set(['if', 'for', 'while', 'switch', 'catch', 'with', 'await'])

/** Name of the function whose body opens at `brace`, '(anonymous)', or null when it is no
 * function. */
function functionName(code: string, brace: number): string | null {
  let head = code.slice(0, brace).trimEnd()
  if (head.endsWith('=>')) {
    const assigned = /(?:const|let)\s+(\w+)[^;{}]*=>$/.exec(head.slice(-300))
    return assigned?.[1] ?? '(anonymous)'
  }
  head = head.replace(/\)\s*:[^(){};=]*$/, ')')
  if (!head.endsWith(')')) return null
  let depth = 0
  let at = head.length - 1
  for (; at >= 0; at--) {
    if (head[at] === ')') depth++
    if (head[at] === '(' && --depth === 0) break
  }
  const before = head.slice(Math.max(0, at - 200), Math.max(0, at)).replace(/<[^<>(){}]*>$/, '')
  const name = /(\w+)\s*$/.exec(before)?.[1]
  if (name === undefined || NOT_FUNCTIONS.has(name)) return null
  return name === 'function' ? '(anonymous)' : name
}

/** Marks that say that something is not finished. */
export function checkMarks(files: readonly SourceFile[], marks: readonly string[]): string[] {
  const pattern = new RegExp(`\\b(${marks.join('|')})\\b`, 'g')
  return files.flatMap(({ path, text }) =>
    [...text.matchAll(pattern)].map((m) => `${path}:${lineOf(text, m.index)}: ${m[0]} is left`),
  )
}

/** Documents without exactly one title, and relative links to files or headings that do not
 * exist. */
export function checkDocuments(
  documents: readonly SourceFile[],
  exists: (path: string) => boolean,
): string[] {
  const complaints: string[] = []
  const headings = new Map(documents.map(({ path, text }) => [path, headingsOf(text)]))
  for (const { path, text } of documents) {
    const titles = headings.get(path)!.filter(({ level }) => level === 1).length
    if (titles !== 1) complaints.push(`${path}: ${titles} titles ("# ...") instead of one`)
    for (const link of linksOf(text)) {
      const [file = '', anchor] = link.split('#', 2)
      const target = file === '' ? path : normalize(`${dirname(path)}/${file}`).replace(/\/$/, '')
      if (!exists(target)) complaints.push(`${path}: link to ${link}: no such file`)
      const known = headings.get(target)
      if (anchor !== undefined && known !== undefined && !known.some((h) => h.anchor === anchor))
        complaints.push(`${path}: link to ${link}: no such heading`)
    }
  }
  return complaints
}

interface Heading {
  readonly level: number
  readonly anchor: string
}

/** The text of a document without fenced and indented code. */
function prose(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '').replace(/^( {4}|\t).*$/gm, '')
}

function headingsOf(text: string): Heading[] {
  return [...prose(text).matchAll(/^(#{1,6}) +(.+?)\s*$/gm)].map((m) => ({
    level: m[1]!.length,
    anchor: m[2]!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\- _]/gu, '')
      .replace(/ /g, '-'),
  }))
}

/** Targets of relative links: neither an address with a scheme nor an absolute path. */
function linksOf(text: string): string[] {
  const source = prose(text).replace(/`[^`\n]*`/g, '')
  return [...source.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((m) => m[1]!)
    .filter((link) => !/^([a-z][a-z0-9+.-]*:|\/)/i.test(link))
}

interface Lockfile {
  readonly packages?: Readonly<Record<string, { readonly resolved?: string }>>
}

/** Lock file entries bound to one registry's host: they would keep others from using their own. */
export function checkLockfile(text: string): string[] {
  const { packages = {} } = JSON.parse(text) as Lockfile
  return Object.entries(packages)
    .filter(([, { resolved }]) => resolved !== undefined && /^\w+:\/\//.test(resolved))
    .map(([name]) => `package-lock.json: ${name} has a "resolved" address`)
}
