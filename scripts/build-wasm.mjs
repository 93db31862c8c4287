// Builds the embedded engine: assembly/ -> dist/engine.wasm, and the thread that runs it -> dist/worker.cjs.
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'
import { build } from 'esbuild'
import { asCommonJs } from './common-js.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const WASM = 'dist/engine.wasm'
const WORKER = 'dist/worker.cjs'
const WORKER_SOURCES = ['src/engine/wasm/worker.ts', 'src/engine/wasm/help.ts', 'src/engine/wasm/control.ts']

const kernelSources = () => [
  'src/engine/wasm/contract.ts',
  ...readdirSync(join(root, 'assembly'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `assembly/${name}`),
]

const modified = (path) => statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? 0

/** Compiles the kernels to `outFile`, a path from the root or an absolute one. */
export async function buildKernels(outFile = WASM, moreOptions = []) {
  const temporary = join(dirname(outFile), `.engine-${process.pid}.wasm`)
  const options =
    '-O3 --converge --noAssert --runtime stub --enable simd,threads,bulk-memory --importMemory --sharedMemory'
  const memory = '--initialMemory 1 --maximumMemory 65536'
  const target = `--baseDir ${root} --outFile ${temporary}`
  const args = ['assembly/index.ts', ...`${target} ${options} ${memory}`.split(' '), ...moreOptions]
  const { error, stderr } = await asc.main(args)
  if (error) throw new Error(`asc: ${error.message}\n${stderr.toString()}`)
  renameSync(resolve(root, temporary), resolve(root, outFile))
}

const workerOptions = {
  absWorkingDir: root,
  entryPoints: [WORKER_SOURCES[0]],
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20',
  minify: true,
  logLevel: 'error',
}

/** The program of the engine's threads as an ES module, for an address that has it within. */
export async function workerModule() {
  const { outputFiles } = await build({ ...workerOptions, format: 'esm', write: false })
  return Buffer.from(outputFiles[0].contents)
}

/** Builds what is missing or older than its sources, or everything; returns the sizes in bytes. */
export async function buildWasm({ force = false } = {}) {
  mkdirSync(join(root, 'dist'), { recursive: true })
  const script = modified('scripts/build-wasm.mjs')
  const stale = (output, sources) => force || modified(output) <= Math.max(script, ...sources.map(modified))
  if (stale(WASM, kernelSources())) await buildKernels()
  if (stale(WORKER, WORKER_SOURCES)) await build({ ...workerOptions, ...asCommonJs })
  return Object.fromEntries([WASM, WORKER].map((path) => [path, statSync(join(root, path)).size]))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const sizes = await buildWasm({ force: true })
  for (const [path, bytes] of Object.entries(sizes)) console.log(`${path}  ${bytes} bytes`)
}
