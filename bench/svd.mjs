// The full SVD of float64 matrices: our engines beside ml-matrix, NumPy and PyTorch. Usage: node bench/svd.mjs [sizes…]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createLapackEngine } from '../dist/lapack-engine.cjs'
import { createWasmEngine } from '../dist/wasm-engine.cjs'
import { startPython } from './python-peer.mjs'
import { seconds, takeTurns } from './timing.mjs'

const SIZES = [512, 1024, 2048]
const ROUNDS = 5
/** ml-matrix takes minutes beyond this. */
const ML_MATRIX_UP_TO = 1024

const PEER = `
import json, sys, time
import numpy as np
try:
    import torch
except ImportError:
    torch = None
np.linalg.svd(np.eye(3))
blas = sorted({line.split()[-1] for line in open('/proc/self/maps') if 'blas' in line or 'lapack' in line})
print(json.dumps({'numpy': np.__version__, 'torch': torch and torch.__version__, 'blas': blas}), flush=True)
for line in sys.stdin:
    what, path, n, vectors = line.split()
    a = np.fromfile(path).reshape(int(n), int(n))
    t = torch and torch.from_numpy(a)
    start = time.perf_counter()
    if what == 'torch':
        s = torch.linalg.svd(t, full_matrices=False) if vectors == 'thin' else torch.linalg.svdvals(t)
    else:
        s = np.linalg.svd(a, full_matrices=False, compute_uv=vectors == 'thin')
    took = time.perf_counter() - start
    s = np.asarray(s[1] if vectors == 'thin' else s)
    print(json.dumps({'seconds': took, 'S': s.tolist()}), flush=True)
`

export async function benchSvd(sizes = SIZES) {
  const threads = availableParallelism()
  const peers = await findPeers(threads)
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  console.log(
    `\nFull SVD, float64, ${threads} threads, medians of ${ROUNDS} turns, as multiples of NumPy's time`,
  )
  for (const line of peers.notes) console.log(`  ${line}`)
  try {
    for (const n of sizes) for (const vectors of ['thin', 'none']) await compare(peers, folder, n, vectors)
  } finally {
    peers.python?.stop()
    rmSync(folder, { recursive: true })
  }
}

/** Who there is to compare with, and a line for each who is absent. */
async function findPeers(threads) {
  const wasm = createWasmEngine({ threads })
  const lapack = createLapackEngine({ threads })
  const python = await startPython(PEER, threads)
  const mlMatrix = await import('ml-matrix').catch(() => null)
  const notes = []
  if (lapack.engine) notes.push(`lapack is ${lapack.library.path} (${lapack.library.version})`)
  else notes.push(`lapack is left out: ${lapack.reason}`)
  if (python === null)
    notes.push('NumPy and PyTorch are left out: apt-get install python3-numpy python3-torch')
  else
    notes.push(
      `NumPy ${python.about.numpy} on ${python.about.blas.join(', ')}; PyTorch ${python.about.torch ?? 'absent'}`,
    )
  if (mlMatrix === null) notes.push('ml-matrix is left out: npm install --no-save ml-matrix')
  return { wasm, lapack: lapack.engine, python, mlMatrix, notes }
}

async function compare({ wasm, lapack, python, mlMatrix }, folder, n, vectors) {
  const A = { rows: n, columns: n, data: new Float64Array(n * n).map(() => Math.random() - 0.5) }
  const path = join(folder, `${n}.f64`)
  writeFileSync(path, A.data)
  const found = {}
  const ours = (name, engine) => () =>
    seconds(() => {
      found[name] = engine.svd(A, vectors).S
    })
  const theirs = (name) => async () => {
    const { seconds, S } = await python.ask(`${name} ${path} ${n} ${vectors}`)
    found[name] = S
    return seconds
  }
  const candidates = { wasm: ours('wasm', wasm) }
  if (lapack) candidates.lapack = ours('lapack', lapack)
  if (python) candidates.numpy = theirs('numpy')
  if (python?.about.torch) candidates.torch = theirs('torch')
  const medians = await takeTurns(candidates, ROUNDS)
  if (mlMatrix && vectors === 'thin' && n <= ML_MATRIX_UP_TO) {
    const rows = Array.from({ length: n }, (_, i) => Array.from(A.data.subarray(i * n, (i + 1) * n)))
    const dense = new mlMatrix.Matrix(rows)
    medians['ml-matrix'] = seconds(() => {
      found['ml-matrix'] = new mlMatrix.SVD(dense, { autoTranspose: true }).diagonal
    })
  }
  const reference = found.numpy ?? found.lapack
  const unit = medians.numpy ?? medians.wasm
  const cells = Object.entries(medians).map(([name, time]) => {
    const error = reference === undefined ? '' : ` (${worstError(found[name], reference).toExponential(0)})`
    return `${name} ${(time / unit).toFixed(2)}${error}`
  })
  const overMl = medians['ml-matrix']
    ? `; wasm is ${(medians['ml-matrix'] / medians.wasm).toFixed(0)} times as fast as ml-matrix`
    : ''
  console.log(`  ${String(n).padStart(5)} ${vectors}  ${cells.join('   ')}${overMl}`)
}

/** The largest relative difference of two lists of singular values. */
function worstError(S, reference) {
  return reference.reduce((worst, s, i) => Math.max(worst, Math.abs(S[i] - s) / s), 0)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const sizes = process.argv.slice(2).map(Number)
  await benchSvd(sizes.length > 0 ? sizes : undefined)
}
