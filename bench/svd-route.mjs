// Where a full SVD spends its time: node bench/svd-route.mjs [order …] [--threads=2]
// Phases are timed one after another on one matrix; 'full' and 'values' are the whole, best of three.
import { rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { buildWasm } from '../scripts/build-wasm.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const args = process.argv.slice(2)
const threads = Number(args.find((arg) => arg.startsWith('--threads='))?.slice(10) ?? 2)
const orders = args.filter((arg) => !arg.startsWith('--')).map(Number)

const modules = [
  'engine/wasm/runtime',
  'engine/wasm/svd-kernels',
  'svd/divide-and-conquer',
  'svd/full-svd',
  'svd/kernels',
  'svd/row-qr',
  'svd/tridiagonal',
  'svd/tridiagonal-ql',
]

/** The sources as one module beside the built kernels, where they look for them. */
async function loadSources() {
  await buildWasm()
  const outfile = `${root}dist/.bench-${process.pid}.mjs`
  const contents = modules.map((name) => `export * from './src/${name}.ts'`).join('\n')
  await build({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  })
  try {
    return await import(outfile)
  } finally {
    await rm(outfile)
  }
}

const lib = await loadSources()
const runtime = lib.createWasmRuntime({ threads })
const kernels = lib.wasmSvdKernels(runtime)

function randomData(length) {
  let state = 1
  return Float64Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32 - 0.5
  })
}

function timed(times, name, run) {
  const start = performance.now()
  const result = run()
  times[name] = Math.min(times[name] ?? Number.POSITIVE_INFINITY, performance.now() - start)
  return result
}

function phases(data, n, times) {
  kernels.scope(() => {
    const square = () => lib.block(kernels.allocate(n * n), n, n)
    const [X, G, W] = [square(), square(), square()]
    X.data.set(data)
    timed(times, 'gram', () => kernels.syrk(X, G))
    const reduction = timed(times, 'tridiagonal', () => lib.reduceToTridiagonal(kernels, G))
    const [d, e] = [reduction.diagonal.slice(), reduction.offDiagonal.slice()]
    timed(times, 'QL values', () => lib.tridiagonalQl(d, e))
    const { vectors } = timed(times, 'divide & conquer', () =>
      lib.tridiagonalEigen(kernels, reduction.diagonal, reduction.offDiagonal),
    )
    timed(times, 'back-transform', () => lib.backTransform(kernels, reduction, vectors))
    timed(times, 'A·V', () => kernels.gemm(vectors, 'N', X, 'N', W))
    const qr = timed(times, 'clean-up: QR', () => lib.rowQr(kernels, W))
    timed(times, 'clean-up: Q', () => lib.orthonormalRows(kernels, qr, G))
  })
}

for (const n of orders.length > 0 ? orders : [256, 512, 1024]) {
  const data = randomData(n * n)
  const double = { rows: n, columns: n, data }
  const single = { rows: n, columns: n, data: Float32Array.from(data) }
  const times = {}
  for (let round = 0; round < 3; round++) {
    phases(data, n, times)
    timed(times, 'full, float64', () => lib.fullSvd(double, 'thin', kernels))
    timed(times, 'full, float32', () => lib.fullSvd(single, 'thin', kernels))
    timed(times, 'values, float64', () => lib.fullSvd(double, 'none', kernels))
    timed(times, 'values, float32', () => lib.fullSvd(single, 'none', kernels))
  }
  console.log(`${n} × ${n}, ${threads} thread${threads === 1 ? '' : 's'}, milliseconds`)
  for (const [name, time] of Object.entries(times))
    console.log(`  ${name.padEnd(18)}${time.toFixed(1).padStart(9)}`)
}
runtime.close()
