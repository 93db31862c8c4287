// The targets of test/fuzz/ as one file, with a counter at every branch of the code in src/.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import * as esbuild from 'esbuild'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SOURCES = join(ROOT, 'src')

const ENTRY = `
export { TARGETS } from './test/fuzz/targets.ts'
export { problemWith } from './test/fuzz/trial.ts'
export { chance } from './test/fuzz/chance.ts'
export { removeScratch } from './test/fuzz/scratch.ts'
`

/** The names that the instrumentor gives to what it calls, bound once so that a counter is no look-up in the global object. */
const BANNER = `
import { createRequire as __createRequire } from 'node:module'
const require = __createRequire(import.meta.url)
const { counters: __jazzer_cov, Fuzzer } = globalThis.loraSvdFuzzing
`

/** Texts of a source that inputs may need: literals, and the names of fields with an underscore. */
function wordsOf(source) {
  const literals = [...source.matchAll(/'([^'\\\n]{1,40})'/g)].map(([, text]) => text)
  const fields = [...source.matchAll(/\b([a-z]+(?:_[a-z0-9]+)+)\b/g)].map(([, name]) => name)
  return [...new Set([...literals.filter((text) => !/^[./]/.test(text)), ...fields])]
}

/**
 * Writes the bundle, and gives its path and the targets by their names. `sources` of the file beside it says which counters are of which source, and
 * the texts in it.
 */
export async function bundleTargets(instrumentor, folder) {
  const require = createRequire(instrumentor)
  const { transformSync } = require('@babel/core')
  const { esmCodeCoverage } = require('./plugins/esmCodeCoverage.js')
  const { compareHooks } = require('./plugins/compareHooks.js')
  const coverage = esmCodeCoverage()
  const sources = []
  const instrument = (path) => {
    const source = readFileSync(path, 'utf8')
    const { code } = esbuild.transformSync(source, { loader: 'ts', target: 'node20' })
    const from = coverage.edgeCount()
    const plugins = [coverage.plugin, compareHooks]
    const { code: contents } = transformSync(code, {
      filename: path,
      plugins,
      compact: false,
      configFile: false,
      babelrc: false,
    })
    sources.push({ path: relative(ROOT, path), from, to: coverage.edgeCount(), words: wordsOf(source) })
    return { contents, loader: 'js' }
  }
  const bundle = join(folder, 'targets.mjs')
  await esbuild.build({
    stdin: { contents: ENTRY, resolveDir: ROOT, loader: 'ts' },
    outfile: bundle,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'bundle',
    external: ['koffi'],
    banner: { js: BANNER },
    loader: { '.wasm': 'binary' },
    logLevel: 'error',
    plugins: [
      {
        name: 'counters',
        setup: ({ onLoad }) => {
          onLoad({ filter: /\.ts$/ }, ({ path }) => (path.startsWith(SOURCES) ? instrument(path) : undefined))
        },
      },
    ],
  })
  const counters = coverage.edgeCount()
  globalThis.loraSvdFuzzing = { counters: new Uint8Array(counters), Fuzzer: untraced }
  const { TARGETS } = await import(pathToFileURL(bundle).href)
  return {
    bundle: { path: bundle, counters, sources },
    targets: TARGETS.map(({ name, isSlow = false }) => ({ name, isSlow })),
  }
}

/** The hooks of comparisons where nobody listens. */
const untraced = {
  tracer: {
    traceStrCmp: (a, b, operator) => compared(a, b, operator),
    traceNumberCmp: (a, b, operator) => compared(a, b, operator),
    traceAndReturn: (_, target) => target,
  },
}

/** What the comparison that a hook stands for gives. */
export function compared(a, b, operator) {
  switch (operator) {
    case '===':
      return a === b
    case '!==':
      return a !== b
    case '==':
      // biome-ignore lint/suspicious/noDoubleEquals: it stands for that of the code
      return a == b
    case '!=':
      // biome-ignore lint/suspicious/noDoubleEquals: it stands for that of the code
      return a != b
    case '<':
      return a < b
    case '<=':
      return a <= b
    case '>':
      return a > b
    default:
      return a >= b
  }
}
