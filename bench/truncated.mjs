// The truncated SVD of a 4096 × 4096 float32 matrix, with its certificate and without, beside torch.svd_lowrank(q = r + 8,
// niter = 2) of the same matrix. Usage: node bench/truncated.mjs [size] [--phases]
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { truncatedSvd } from '../dist/index.js'
import { createLapackEngine } from '../dist/lapack-engine.cjs'
import { createWasmEngine } from '../dist/wasm-engine.cjs'
import { phases, profiled } from './phases.mjs'
import { startPython } from './python-peer.mjs'
import { seconds, takeTurns } from './timing.mjs'

const SIZE = 4096
const RANKS = [16, 64]
const ROUNDS = 7

/** Writes the matrices to files, then times svd_lowrank on one of them for each line. */
const peer = (size, folder) => `
import json, sys, time
import numpy as np, torch
n, folder = ${size}, '${folder}'
torch.manual_seed(0)
k = min(512, n)
U, V = (torch.linalg.qr(torch.randn(n, k))[0] for _ in range(2))
i = torch.arange(k).float()
noise = 1e-3 * torch.randn(n, n) / n ** 0.5
spectra = {'0.9^i + noise': 0.9 ** i, '1/i + noise': 1 / (1 + i)}
matrices = [(U * s) @ V.T + noise for s in spectra.values()]
for j, A in enumerate(matrices):
    A.numpy().tofile(f'{folder}/{j}')
print(json.dumps({'version': torch.__version__, 'names': list(spectra)}), flush=True)
for line in sys.stdin:
    j, r = map(int, line.split())
    A = matrices[j]
    start = time.perf_counter()
    u, s, v = torch.svd_lowrank(A, q=r + 8, niter=2)
    took = time.perf_counter() - start
    E = A.double() - (u[:, :r].double() * s[:r]) @ v[:, :r].double().T
    print(json.dumps({'seconds': took, 'error': (E.norm() / A.double().norm()).item()}), flush=True)
`

export async function benchTruncated(size = SIZE, withPhases = false) {
  const threads = availableParallelism()
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  console.log(
    `\nTruncated SVD, ${size} × ${size} float32, ${threads} threads, medians of ${ROUNDS} turns, as multiples of torch.svd_lowrank`,
  )
  try {
    const python = await startPython(peer(size, folder), threads)
    if (python === null) return console.log('  left out: apt-get install python3-torch python3-numpy')
    const lapack = createLapackEngine({ threads })
    if (!lapack.engine) console.log(`  lapack is left out: ${lapack.reason}`)
    const engines = { wasm: createWasmEngine({ threads }), ...(lapack.engine && { lapack: lapack.engine }) }
    for (const [j, name] of python.about.names.entries()) {
      const { buffer, byteOffset } = readFileSync(join(folder, String(j)))
      const A = { rows: size, columns: size, data: new Float32Array(buffer, byteOffset, size * size) }
      for (const rank of RANKS) await compare(python, engines, { name, j, A, rank, withPhases })
    }
    python.stop()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function compare(python, engines, { name, j, A, rank, withPhases }) {
  const errors = {}
  const found = {}
  const candidates = {
    torch: async () => {
      const { seconds, error } = await python.ask(`${j} ${rank}`)
      errors.torch = Math.min(error, errors.torch ?? Number.POSITIVE_INFINITY)
      return seconds
    },
  }
  for (const [engineName, engine] of Object.entries(engines)) {
    for (const certify of ['none', 'default']) {
      const label = `${engineName}${certify === 'none' ? '' : ' certified'}`
      candidates[label] = () => {
        const profile = new Map()
        return seconds(() => {
          const truncated = truncatedSvd(
            A,
            { kind: 'rank', rank },
            { engine: profiled(engine, profile), certify },
          )
          found[label] = { truncated, profile, engine }
        })
      }
    }
  }
  const medians = await takeTurns(candidates, ROUNDS)
  console.log(`  ${name}, rank ${rank}: torch's error ${errors.torch.toFixed(7)}`)
  for (const [label, { truncated, profile, engine }] of Object.entries(found)) {
    const { atLeast } = truncated.optimalError
    const bound = atLeast > 0 ? `, the best at least ${atLeast.toFixed(7)}` : ''
    const times = (medians[label] / medians.torch).toFixed(2)
    console.log(
      `    ${label.padEnd(16)} ${times}   error ${achieved(engine, A, truncated).toFixed(7)}${bound}`,
    )
    if (withPhases) console.log(`      ${phases(profile, 1000 * medians[label])}`)
  }
}

/** ‖A − U·diag(S)·Vᵀ‖_F / ‖A‖_F, measured as PyTorch's is: from the factors, in float64. */
function achieved(engine, A, { U, S, V }) {
  const resident = engine.resident(A)
  const B = { ...U, data: U.data.map((u, at) => u * S[at % S.length]) }
  const C = { rows: V.columns, columns: V.rows, data: new Float64Array(V.data.length) }
  for (let i = 0; i < V.rows; i++) {
    for (let j = 0; j < V.columns; j++) C.data[j * V.rows + i] = V.data[i * V.columns + j]
  }
  const error = Math.sqrt(resident.residualSquared(B, C) / resident.frobeniusSquared())
  resident.release()
  return error
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [size] = process.argv.slice(2).filter((argument) => /^\d+$/.test(argument))
  await benchTruncated(size && Number(size), process.argv.includes('--phases'))
}
