// Matrix products of the embedded engine, in GF/s a thread, beside NumPy's. Usage: node bench/gemm.mjs [sizes…]
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { buildWasm } from '../scripts/build-wasm.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const sizes = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [512, 1024, 2048]
const THREADS = [1, 2]
/** The best of so many: other processes on the machine only ever make a run slower. */
const RUNS = 10

async function loadEngine(folder) {
  await buildWasm()
  const outfile = join(folder, 'engine.mjs')
  const entryPoints = ['src/engine/wasm/wasm-engine.ts']
  await build({ absWorkingDir: root, entryPoints, outfile, bundle: true, platform: 'node', format: 'esm' })
  for (const name of ['engine.wasm', 'worker.js']) copyFileSync(join(root, 'dist', name), join(folder, name))
  return import(pathToFileURL(outfile).href)
}

function bestSeconds(run) {
  let best = Infinity
  for (let i = 0; i < RUNS; i++) {
    const start = performance.now()
    run()
    best = Math.min(best, performance.now() - start)
  }
  return best / 1000
}

/** {product, gram} in GF/s over all threads, for an n × n matrix. */
function measure(engine, n, type) {
  const random = () => (type === 'f32' ? new Float32Array(n * n) : new Float64Array(n * n)).map(Math.random)
  const [A, B] = [random(), random()].map((data) => ({ rows: n, columns: n, data }))
  return {
    product: (2 * n ** 3) / bestSeconds(() => engine.multiply(A, B)) / 1e9,
    gram: n ** 3 / bestSeconds(() => engine.gram(A)) / 1e9,
  }
}

const NUMPY = `
import json, sys, time
import numpy as np
out = {}
for n in map(int, sys.argv[1].split(',')):
    for name, dtype in (('f32', np.float32), ('f64', np.float64)):
        a, b = (np.random.rand(n, n).astype(dtype) for _ in range(2))
        best = float('inf')
        for _ in range(${RUNS}):
            start = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - start)
        out[f'{n} {name}'] = 2 * n**3 / best / 1e9
print(json.dumps(out))
`

function measureNumpy(threads) {
  try {
    const env = { ...process.env, OPENBLAS_NUM_THREADS: String(threads) }
    return JSON.parse(
      execFileSync('/usr/bin/python3', ['-c', NUMPY, sizes.join(',')], { env, stdio: 'pipe' }),
    )
  } catch {
    return undefined
  }
}

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
try {
  const { createWasmEngine } = await loadEngine(folder)
  console.log('GF/s a thread, best of', RUNS, '(gram: n³ operations, always in float64)')
  console.log('threads     n  type  product    gram   numpy product')
  for (const threads of THREADS) {
    const engine = createWasmEngine({ threads })
    const numpy = measureNumpy(threads)
    for (const n of sizes) {
      for (const type of ['f32', 'f64']) {
        const { product, gram } = measure(engine, n, type)
        const figures = [product, gram, numpy?.[`${n} ${type}`]].map((total) =>
          total === undefined ? '  absent' : (total / threads).toFixed(1).padStart(8),
        )
        console.log(`${String(threads).padStart(7)} ${String(n).padStart(5)}  ${type} ${figures.join('')}`)
      }
    }
    engine.close()
  }
} finally {
  rmSync(folder, { recursive: true })
}
