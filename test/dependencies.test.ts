import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'

/**
 * The parts of src/, the lowest first. A part imports only from layers below its own: neither from above nor from a
 * neighbour.
 */
const LAYERS = [
  ['errors.ts', 'version.ts'],
  ['text'],
  ['random'],
  ['linalg'],
  ['io'],
  ['formats', 'terminal'],
  ['checkpoint', 'engine'],
  ['lora', 'jobs', 'shards'],
  ['delta', 'update', 'moments'],
  ['compress', 'measure'],
  ['combine'],
  ['convert'],
  ['mathjs', 'report', 'browser'],
  ['commands'],
  ['index.ts', 'mathjs.ts', 'job-worker.ts', 'page'],
  ['cli.ts'],
]

interface Import {
  readonly from: string
  readonly to: string
  readonly isType: boolean
}

const files = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return files(path)
    return name.endsWith('.ts') && !name.endsWith('.d.ts') ? [path] : []
  })

const sources = files('src').map((path) => ({ path, text: readFileSync(path, 'utf8') }))
/** Code without its comments, in which examples import too. */
const code = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')

const imports: Import[] = sources.flatMap(({ path, text }) =>
  [
    ...code(text).matchAll(/^(?:import|export)\b(?: (type)\b)?[^'"`;]*?from '([^']+)'|import\('([^']+)'\)/gm),
  ].map(([, type, name, dynamic]) => ({ from: path, to: name ?? dynamic, isType: type !== undefined })),
)
const own = imports
  .filter(({ to }) => to.startsWith('.'))
  .map((edge) => ({ ...edge, to: join(dirname(edge.from), edge.to) }))
const partOf = (path: string) => relative('src', path).split('/')[0]

test('the imports are all found', () => {
  expect(sources.length).toBeGreaterThan(80)
  expect(own.length).toBeGreaterThan(150)
  for (const { to } of own) if (to !== 'package.json') expect(sources.map(({ path }) => path)).toContain(to)
  expect([...new Set(sources.map(({ path }) => partOf(path)))].sort()).toEqual(LAYERS.flat().sort())
})

test('parts import from layers below their own', () => {
  const layerOf = (path: string) => LAYERS.findIndex((parts) => parts.includes(partOf(path)))
  const upwards = own.filter(
    ({ from, to }) => to !== 'package.json' && partOf(from) !== partOf(to) && layerOf(to) >= layerOf(from),
  )
  expect(upwards).toEqual([])
})

test('no modules need each other to run', () => {
  const needed = new Map(sources.map(({ path }) => [path, new Set<string>()]))
  for (const { from, to, isType } of own) if (!isType) needed.get(from)?.add(to)
  // modules that need only what is settled are settled; those of a circle never are
  const settled = new Set(['package.json'])
  for (let before = -1; before < settled.size; ) {
    before = settled.size
    for (const [path, paths] of needed) if ([...paths].every((to) => settled.has(to))) settled.add(path)
  }
  expect([...needed.keys()].filter((path) => !settled.has(path))).toEqual([])
})

/** The files outside these places that import a package for more than its types. */
const importersOf = (name: string, places: readonly string[]) =>
  imports
    .filter(({ to, isType }) => !isType && (to === name || to.startsWith(`${name}/`)))
    .filter(({ from }) => !places.some((place) => relative('src', from).startsWith(place)))

test.each([
  ['mathjs', ['mathjs.ts', 'mathjs/', 'commands/demo/math.ts']],
  ['chalk', ['terminal/']],
  ['cli-table3', ['report/']],
  ['commander', ['commands/', 'report/error.ts']],
  ['seedrandom', ['random/']],
  ['koffi', ['engine/lapack/']],
  ['string-width', ['text/width.ts']],
  ['wrap-ansi', ['text/width.ts']],
])('%s is known to %j alone', (name, places) => {
  expect(importersOf(name, places)).toEqual([])
})

test('node:fs is known to io/ alone', () => {
  const ofFiles = imports.filter(({ to }) => /^(node:)?fs(\/promises)?$/.test(to))
  expect(ofFiles.length).toBeGreaterThan(5)
  expect(ofFiles.filter(({ from }) => partOf(from) !== 'io')).toEqual([])
})

test('the network is known to one file of io/ alone', () => {
  const offenders = sources.filter(({ text }) => /\bfetch\(|node:(?:https?2?|net|tls)\b/.test(code(text)))
  expect(offenders.map(({ path }) => path)).toEqual(['src/io/remote/request.ts'])
})

test('nothing else is imported but Node’s own modules', () => {
  const known =
    /^(\.|node:|(mathjs|chalk|cli-table3|commander|seedrandom|koffi|string-width|wrap-ansi)(\/|$))/
  expect(imports.filter(({ to }) => !known.test(to))).toEqual([])
})

test('the library reads no streams of the process, and ends none', () => {
  // what is opened as - is standard input where no other is given; library.ts holds the program of another process
  const allowed = ['src/cli.ts', 'src/io/source.ts', 'src/engine/lapack/library.ts']
  const offenders = sources.filter(
    ({ path, text }) =>
      /\bprocess\.(std(in|out|err)|exit|exitCode|argv|on|once|off)\b|\bconsole\./.test(code(text)) &&
      !allowed.includes(path) &&
      partOf(path) !== 'terminal',
  )
  expect(offenders.map(({ path }) => path)).toEqual([])
})

test('the numbers come from no clock, and from no generator without a seed', () => {
  const offenders = sources.filter(({ text }) =>
    /\bMath\.random\b|\bDate\.now\b|\bnew Date\b/.test(code(text)),
  )
  // when a server is asked again, and how long ago a killed process elsewhere left a file, are no numbers of ours
  expect(offenders.map(({ path }) => path)).toEqual(['src/io/remote/network.ts', 'src/io/temporary.ts'])
})
