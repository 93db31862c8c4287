// Builds dist/: the command line and the library as bundles, so that starting doesn't read a thousand small files
// of mathjs, and the types by tsc.
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { build } from 'esbuild'
import { atOnce } from './at-once.mjs'
import { buildPage } from './build-page.mjs'
import { buildWasm, workerModule } from './build-wasm.mjs'
import { asCommonJs } from './common-js.mjs'
import { bundledPackages, licensesOf } from './licenses.mjs'
import { pruneTypes } from './prune-types.mjs'
import { buildSharing } from './shared-bundle.mjs'

rmSync('dist', { recursive: true, force: true })
await buildWasm({ force: true })

// Modules that dependencies load when they start, for features this tool never reaches: each costs milliseconds.
const STAND_INS = [
  // commander: only for subcommands that are programs of their own
  { module: /^(node:)?child_process$/, of: 'commander', contents: 'module.exports = {}' },
  // seedrandom: only for generators without a seed
  { module: /^crypto$/, of: 'seedrandom', contents: 'module.exports = {}' },
  // cli-table3: only for its own styles, which report/table.ts turns off
  { module: /^@colors\/colors\/safe$/, of: 'cli-table3', contents: 'module.exports = {}' },
  // cli-table3: only for texts whose letters take other than one column each, which report/table.ts never gives it
  { module: /^string-width$/, of: 'cli-table3', contents: 'module.exports = (text) => text.length' },
  // chalk: only for its guess at the level of colour, which terminal/colour.ts decides
  { module: /^node:tty$/, of: 'chalk', contents: 'export default { isatty: () => false }' },
  // chalk: importing node:process opens all three standard streams; the global doesn't
  { module: /^node:process$/, of: 'chalk', contents: 'export default process' },
]
// Packages of ours that make much of Unicode's tables when they start, for texts that most commands never print: started when
// the first such text is measured.
const STARTED_WHEN_USED = /^(string-width|wrap-ansi)$/
const standIns = {
  name: 'stand-ins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: STARTED_WHEN_USED }, ({ path, importer, kind }) =>
      kind === 'entry-point' || importer.includes('node_modules') || importer === path
        ? undefined
        : { path, namespace: 'when-used' },
    )
    onLoad({ filter: /.*/, namespace: 'when-used' }, ({ path }) => ({
      contents: `export default (...inputs) => require('${path}').default(...inputs)`,
      resolveDir: '.',
    }))
    STAND_INS.forEach(({ module, of, contents }, i) => {
      const namespace = `stand-in-${i}`
      onResolve({ filter: module }, ({ path, importer }) =>
        importer.includes(`node_modules/${of}/`) ? { path, namespace } : undefined,
      )
      onLoad({ filter: /.*/, namespace }, () => ({ contents }))
    })
  },
}

// Modules of Node that take a millisecond or more to start, and that some commands never need: started when one of their functions is called.
const NODE_WHEN_USED = ['node:crypto', 'node:fs/promises', 'node:os']
const functionsOf = async (name) =>
  Object.entries(await import(name))
    .filter(([key, value]) => typeof value === 'function' && /^[a-z]/.test(key))
    .map(([key]) => key)
const nodeWhenUsed = {
  name: 'node-when-used',
  setup({ onResolve, onLoad }) {
    const namespace = 'node-when-used'
    onResolve({ filter: /^node:/ }, ({ path, namespace: from }) => {
      if (!NODE_WHEN_USED.includes(path)) return undefined
      return from === namespace ? { path, external: true } : { path, namespace }
    })
    onLoad({ filter: /.*/, namespace }, async ({ path }) => {
      const names = await functionsOf(path)
      const functions = names.map(
        (name) => `export const ${name} = (...inputs) => require('${path}').${name}(...inputs)`,
      )
      const whole = `export default { ${names.join()} }`
      return { contents: [...functions, whole].join('\n') }
    })
  },
}

// A command is one run in a process of its own, so that what the run knows need not be told from what others know. On Node 20 each
// promise costs more once there is an AsyncLocalStorage: small jobs took 3 to 6 % longer.
const oneRunAProcess = {
  name: 'one-run-a-process',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:async_hooks$/ }, ({ path }) => ({ path, namespace: 'one-run' }))
    onLoad({ filter: /.*/, namespace: 'one-run' }, () => ({
      contents: `export class AsyncLocalStorage {
        run(store, work) {
          this.store = store
          return work()
        }
        getStore() {
          return this.store
        }
      }`,
    }))
  },
}

// Each module that is imported when it is needed becomes a bundle of its own beside cli.cjs.
const lazyBundles = new Map([
  ['cli', 'src/cli.ts'],
  ['job-worker', 'src/job-worker.ts'],
])
const ownBundles = {
  name: 'own-bundles',
  setup({ onResolve }) {
    onResolve({ filter: /\.ts$/ }, ({ path, kind, resolveDir }) => {
      if (kind !== 'dynamic-import') return undefined
      const entry = relative('.', join(resolveDir, path))
      // what a command does and prints, by the command's name
      const [, name = basename(path, '.ts')] = /commands\/(\w+)\/document\.ts$/.exec(entry) ?? []
      const other = lazyBundles.get(name) ?? entry
      if (other !== entry) throw new Error(`${other} and ${entry} would both become dist/${name}.cjs`)
      lazyBundles.set(name, entry)
      return { path: `./${name}.cjs`, external: true }
    })
  },
}

/** Of a command these packages are bundles of their own, which are read when they are needed. */
const wideTextWhenUsed = {
  name: 'wide-text-when-used',
  setup({ onResolve, onLoad }) {
    const namespace = 'wide-text'
    onResolve({ filter: STARTED_WHEN_USED }, ({ path, importer, kind }) => {
      if (kind === 'entry-point' || importer.includes('node_modules')) return undefined
      lazyBundles.set(path, path)
      return { path, namespace }
    })
    onResolve({ filter: /\.cjs$/, namespace }, ({ path }) => ({ path, external: true }))
    onLoad({ filter: /.*/, namespace }, ({ path }) => ({
      contents: `export default (...inputs) => require('./${path}.cjs').default(...inputs)`,
    }))
  },
}

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  minify: true,
  outdir: 'dist',
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
}

// Commands on checkpoints and adapters have most of their code in common, and so have the jobs of worker threads: what they
// share is a bundle of its own beside theirs, and not in the package once for each. Of commands that is what all of these need: one that
// loads what only others need starts later. `check`, which needs the least, and `inspect` and `extract`, which run most, are whole:
// calls from one bundle into another cost them a few hundredths of their time.
const SHARING = [
  {
    shared: 'models',
    least: 6,
    entries: Object.fromEntries(
      ['verify', 'resize', 'merge', 'apply', 'convert', 'compare'].map((name) => [
        name,
        `src/commands/${name}/document.ts`,
      ]),
    ),
  },
  {
    shared: 'jobs',
    least: 4,
    entries: {
      'job-worker': 'src/job-worker.ts',
      work: 'src/commands/inspect/work.ts',
      layer: 'src/compress/layer.ts',
      sum: 'src/compress/sum.ts',
      measure: 'src/measure/measure.ts',
      'apply-jobs': 'src/commands/apply/apply-jobs.ts',
      'difference-jobs': 'src/convert/difference-jobs.ts',
      'compare-products': 'src/convert/compare-products.ts',
      'compare-layer': 'src/commands/compare/compare-layer.ts',
    },
  },
]

const metafiles = []
const plugins = [wideTextWhenUsed, standIns, nodeWhenUsed, oneRunAProcess, ownBundles]
for (const sharing of SHARING)
  metafiles.push(await buildSharing({ ...sharing, options: { ...common, plugins } }))
const together = new Map(SHARING.flatMap(({ entries }) => Object.entries(entries)))
// The map grows while it is gone through: a bundle names those that it imports.
for (const [name, entry] of lazyBundles) {
  if (together.has(name)) continue
  metafiles.push(
    (await build({ ...common, ...asCommonJs, entryPoints: { [name]: entry }, plugins })).metafile,
  )
}
for (const [name, entry] of together)
  if (lazyBundles.get(name) !== entry) throw new Error(`nothing imports ${entry} when it is needed`)
// A program that imports the library may be bundled in its turn, and then no file lies beside it: the engine goes along.
const library = {
  entryPoints: ['src/index.ts', 'src/mathjs.ts'],
  external: ['mathjs'],
  plugins: [standIns, atOnce],
  // whoever meets a defect of it reads its names in the stack; bundlers make it small
  minify: false,
  define: {
    EMBEDDED_KERNELS: JSON.stringify(readFileSync('dist/engine.wasm', 'base64')),
    EMBEDDED_WORKER: JSON.stringify((await workerModule()).toString('base64')),
  },
}
metafiles.push(
  (await build({ ...common, ...library, splitting: true, chunkNames: 'chunks/[hash]' })).metafile,
)
// The dark colours of a report stand once in theme.css, for a reader who asks for them; a browser whose system prefers dark gets
// the same ones unless the reader asks for light. Both are for screens: paper has the light ones.
const CHOSEN_DARK = /:root\[data-theme="dark"\] \{[^}]*\}/
const preferredDark = {
  name: 'preferred-dark',
  setup({ onLoad }) {
    onLoad({ filter: /theme\.css$/ }, ({ path }) => {
      const preferring = (rule) =>
        `@media (prefers-color-scheme: dark) {${rule.replace('[data-theme="dark"]', ':not([data-theme="light"])')}}`
      const onScreens = (rule) => `@media screen {${preferring(rule)}${rule}}`
      const contents = readFileSync(path, 'utf8').replace(CHOSEN_DARK, onScreens)
      return { contents, loader: 'css' }
    })
  },
}

// What an HTML report carries: its script, which runs in browsers of the last few years, and its style.
const report = {
  entryPoints: {
    'report-client': 'src/commands/inspect/html/client/main.ts',
    report: 'src/commands/inspect/html/client/style.css',
  },
}
const browser = {
  platform: 'browser',
  target: ['chrome111', 'firefox115', 'safari16.4'],
  format: 'iife',
  charset: 'utf8',
  plugins: [preferredDark],
}
metafiles.push((await build({ ...common, ...report, ...browser })).metafile)
metafiles.push((await buildPage({ ...common, ...browser })).metafile)
// The kernels have pieces of AssemblyScript's standard library in them.
const packages = [...bundledPackages(metafiles), 'node_modules/assemblyscript'].sort()
writeFileSync('dist/THIRD-PARTY-LICENSES.txt', licensesOf(packages))
execFileSync('npx', ['tsc', '--project', 'tsconfig.build.json'], { stdio: 'inherit' })
pruneTypes('dist/types', ['index.d.ts', 'mathjs.d.ts'])
