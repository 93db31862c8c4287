// Matrix products in 10⁹ operations a second over all threads: our engines beside NumPy. Usage: node bench/products.mjs [sizes…]
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { createLapackEngine } from '../dist/lapack-engine.cjs'
import { createWasmEngine } from '../dist/wasm-engine.cjs'
import { startPython } from './python-peer.mjs'
import { seconds, takeTurns } from './timing.mjs'

const SIZES = [1024, 2048]
const ROUNDS = 7

const PEER = `
import json, sys, time
import numpy as np
print(json.dumps(np.__version__), flush=True)
for line in sys.stdin:
    n, dtype = line.split()
    a = np.random.rand(int(n), int(n)).astype(np.float32 if dtype == 'f32' else np.float64)
    start = time.perf_counter()
    a @ a
    print(json.dumps(time.perf_counter() - start), flush=True)
`

export async function benchProducts(sizes = SIZES) {
  const counts = [...new Set([1, availableParallelism()])]
  console.log(`\nMatrix products, GF/s over all threads, medians of ${ROUNDS} turns`)
  for (const threads of counts) {
    const wasm = createWasmEngine({ threads })
    const lapack = createLapackEngine({ threads })
    const numpy = await startPython(PEER, threads)
    if (numpy === null) console.log('  NumPy is left out: apt-get install python3-numpy')
    if (!lapack.engine) console.log(`  lapack is left out: ${lapack.reason}`)
    for (const n of sizes) {
      for (const dtype of ['f32', 'f64']) {
        const data = (dtype === 'f32' ? new Float32Array(n * n) : new Float64Array(n * n)).map(Math.random)
        const A = { rows: n, columns: n, data }
        const candidates = { wasm: () => seconds(() => wasm.multiply(A, A)) }
        if (lapack.engine) candidates.lapack = () => seconds(() => lapack.engine.multiply(A, A))
        if (numpy) candidates.numpy = () => numpy.ask(`${n} ${dtype}`)
        const medians = await takeTurns(candidates, ROUNDS)
        const cells = Object.entries(medians).map(
          ([name, time]) => `${name} ${((2 * n ** 3) / time / 1e9).toFixed(1)}`,
        )
        console.log(`  ${threads} threads  ${String(n).padStart(5)} ${dtype}  ${cells.join('   ')}`)
      }
    }
    numpy?.stop()
    wasm.close()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const sizes = process.argv.slice(2).map(Number)
  await benchProducts(sizes.length > 0 ? sizes : undefined)
}
