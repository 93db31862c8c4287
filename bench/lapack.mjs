// SVDs of the LAPACK engine beside NumPy's, float64, on the same matrices and with the same number of threads.
// Usage: node bench/lapack.mjs [sizes…]
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const PYTHON = '/usr/bin/python3'
const THREADS = [1, 2]
const DEFAULT_SIZES = [512, 1024, 2048]
/** The two take turns for so many milliseconds and runs, and the best counts: other processes only ever make a run slower. */
const LEAST_TIME = 12_000
const LEAST_RUNS = 3
/** Ours over NumPy's, at most. */
const LIMIT = 1.1

const NUMPY = `
import json, sys, time
import numpy as np
np.linalg.svd(np.eye(3))
maps = {line.split()[-1] for line in open('/proc/self/maps') if 'blas' in line or 'lapack' in line}
print(json.dumps({'version': np.__version__, 'libraries': sorted(maps)}), flush=True)
for line in sys.stdin:
    path, n, vectors = line.split()
    a = np.fromfile(path).reshape(int(n), int(n))
    start = time.perf_counter()
    np.linalg.svd(a, full_matrices=False, compute_uv=vectors == 'thin')
    print(json.dumps(time.perf_counter() - start), flush=True)
`

export async function benchLapack(sizes = DEFAULT_SIZES) {
  console.log(
    `\nSVD in float64, milliseconds: LAPACK engine, NumPy, ratio (limit ${LIMIT}); best of several runs`,
  )
  // Beneath the package, so that koffi is found from it.
  const outfile = fileURLToPath(new URL('../dist/bench-lapack.mjs', import.meta.url))
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  try {
    const entry = fileURLToPath(new URL('../src/engine/lapack/lapack-engine.ts', import.meta.url))
    await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'esm' })
    const { createLapackEngine } = await import(pathToFileURL(outfile).href)
    for (const threads of THREADS) await compare(createLapackEngine, threads, sizes, folder)
  } finally {
    rmSync(outfile, { force: true })
    rmSync(folder, { recursive: true })
  }
}

async function compare(createLapackEngine, threads, sizes, folder) {
  const found = createLapackEngine({ threads })
  if ('reason' in found) return console.log(`  left out: ${found.reason}`)
  const numpy = await startNumpy(threads)
  if (numpy === null) return console.log(`  left out: ${PYTHON} has no NumPy`)
  console.log(`  ${found.library.threads} threads`)
  console.log(`    ours   ${found.library.version}; ${loadedLibraries().join(', ')}`)
  console.log(`    NumPy  ${numpy.about.version}; ${numpy.about.libraries.join(', ')}`)
  for (const n of sizes) {
    const A = { rows: n, columns: n, data: new Float64Array(n * n).map(() => Math.random() - 0.5) }
    const path = join(folder, `${n}.f64`)
    writeFileSync(path, A.data)
    for (const vectors of ['thin', 'none']) {
      let [ours, theirs] = [Infinity, Infinity]
      const start = performance.now()
      for (let run = 0; run < LEAST_RUNS || performance.now() - start < LEAST_TIME; run++) {
        ours = Math.min(
          ours,
          milliseconds(() => found.engine.svd(A, vectors)),
        )
        theirs = Math.min(theirs, 1000 * (await numpy.ask(`${path} ${n} ${vectors}`)))
      }
      const figures = [ours.toFixed(1), theirs.toFixed(1), (ours / theirs).toFixed(2)]
      console.log(
        `    ${String(n).padStart(5)} ${vectors} ${figures.map((text) => text.padStart(9)).join('')}`,
      )
    }
  }
  numpy.stop()
}

function milliseconds(run) {
  const start = performance.now()
  run()
  return performance.now() - start
}

/** The shared libraries of this process that are BLAS or LAPACK, where the system tells. */
function loadedLibraries() {
  try {
    const paths = readFileSync('/proc/self/maps', 'utf8').match(/\/\S*(?:blas|lapack|mkl)\S*\.so\S*/g)
    return [...new Set(paths)].sort()
  } catch {
    return []
  }
}

/** A NumPy process that times one SVD for each line it is sent; null when there is none. */
async function startNumpy(threads) {
  const env = { ...process.env, OPENBLAS_NUM_THREADS: String(threads), MKL_NUM_THREADS: String(threads) }
  const child = spawn(PYTHON, ['-c', NUMPY], { env, stdio: ['pipe', 'pipe', 'ignore'] })
  child.on('error', () => {})
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => {
    const { value, done } = await lines.next()
    return done ? null : JSON.parse(value)
  }
  const about = await next()
  if (about === null) return null
  return {
    about,
    ask: (line) => {
      child.stdin.write(`${line}\n`)
      return next()
    },
    stop: () => child.stdin.end(),
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const sizes = process.argv.slice(2).map(Number)
  await benchLapack(sizes.length > 0 ? sizes : undefined)
}
