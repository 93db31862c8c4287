// The command line as scripts/build.mjs bundles it, but with its names, and those of its kernels: what a profile of it says can be
// read. Nothing of the product changes for it, save that worker threads inherit the flags that profile them.
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { buildKernels } from '../../scripts/build-wasm.mjs'
import { asCommonJs } from '../../scripts/common-js.mjs'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** Files of dist/ that bundles load from beside them. */
const BESIDE = ['engine.wasm', 'report-client.js', 'report.css', 'page.html']
/** The programs, and what each kind of thread is called. */
const PROGRAMS = { cli: 'main', 'job-worker': 'job', worker: 'engine' }
/** The way to the system's LAPACK. */
const UNBUNDLED = 'koffi'
const PROFILED_COMMANDS = new Set(['extract', 'inspect', 'verify'])
const here = (name) => fileURLToPath(new URL(name, import.meta.url))

/** What is replaced in sources, which must have it. */
export const EDITS = {
  profiled: {
    'src/jobs/thread.ts': [[', execArgv: []', '']],
    'src/engine/wasm/thread.ts': [[', execArgv: []', '']],
  },
  counting: {
    'src/engine/open.ts': [
      [
        'export async function openEngine(',
        `import { counted } from '${here('counted.mjs')}'
        export const openEngine: typeof openUncounted = async (...how) => counted(await openUncounted(...how))
        async function openUncounted(`,
      ],
    ],
    'src/jobs/run-jobs.ts': [['IN_PROCESS_UP_TO = 1e8', 'IN_PROCESS_UP_TO = Number.POSITIVE_INFINITY']],
  },
}

/** Every program in `folder`, the kernels with their names; dist/ must have been built. Gives the path of the one to run. */
export async function buildNamed(folder) {
  const program = await buildPrograms(folder, EDITS.profiled)
  await buildKernels(join(folder, 'engine.wasm'), ['--debug'])
  return program
}

async function buildPrograms(folder, edits) {
  mkdirSync(folder, { recursive: true })
  for (const name of BESIDE) copyFileSync(join(ROOT, 'dist', name), join(folder, name))
  // what isn't bundled is looked for beside them
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(join(ROOT, 'node_modules', UNBUNDLED), join(folder, 'node_modules', UNBUNDLED))
  const bundles = new Map([
    ['cli', 'src/cli.ts'],
    ['job-worker', 'src/job-worker.ts'],
    ['worker', 'src/engine/wasm/worker.ts'],
  ])
  // the map grows while it is gone through: a bundle names those that it imports
  for (const [name, entry] of bundles) {
    const program = PROGRAMS[name]
    const registers = `require('${here('register.cjs')}').register('${program}');`
    await build({
      absWorkingDir: ROOT,
      entryPoints: { [name]: entry },
      outdir: folder,
      bundle: true,
      platform: 'node',
      target: 'node20',
      ...asCommonJs,
      legalComments: 'none',
      logLevel: 'warning',
      banner: { js: asCommonJs.banner.js + (program === undefined ? '' : registers) },
      plugins: [ownBundles(bundles), edited(edits)],
    })
  }
  const program = join(folder, 'run.cjs')
  writeFileSync(program, `require('./cli.cjs').main(process.argv.slice(2))\n`)
  return program
}

/** The same in one thread, with engines that count what they are asked for, into the file that PROFILE_COUNTS names. */
export const buildCounting = (folder) => buildPrograms(folder, EDITS.counting)

/** What is imported when it is needed becomes a bundle of its own, as in scripts/build.mjs. */
const ownBundles = (bundles) => ({
  name: 'own-bundles',
  setup({ onResolve }) {
    onResolve({ filter: /\.ts$/ }, ({ path, kind, resolveDir }) => {
      if (kind !== 'dynamic-import') return undefined
      const entry = relative(ROOT, join(resolveDir, path))
      const [, command] = /^src\/commands\/(\w+)\//.exec(entry) ?? []
      const isDocument = basename(path) === 'document.ts'
      const name = isDocument ? command : basename(path, '.ts')
      if (command === undefined || PROFILED_COMMANDS.has(command)) bundles.set(name, entry)
      return { path: `./${name}.cjs`, external: true }
    })
  },
})

/** Sources with some words replaced; throws where one isn't there any more. */
const edited = (edits) => ({
  name: 'edited',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const file = relative(ROOT, path)
      if (!Object.hasOwn(edits, file)) return undefined
      let contents = readFileSync(path, 'utf8')
      for (const [before, after] of edits[file]) {
        if (!contents.includes(before)) throw new Error(`${file}: has no '${before}' to replace`)
        contents = contents.replace(before, after)
      }
      return { contents, loader: 'ts' }
    })
  },
})
