// The truncated SVD beside torch.svd_lowrank(A, q = r + 8, niter = 2): same matrix, same number of threads, turn by turn.
// Usage: node bench/truncated.mjs [size] [wasm|lapack]
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const PYTHON = '/usr/bin/python3'
const THREADS = 2
const RANKS = [16, 64]
/** The two take turns and the best of each counts: other processes only ever make a run slower. */
const RUNS = 7
/** Ours over PyTorch's, at most: with the certificate, and without. */
const LIMITS = { default: 2, none: 1.2 }

const SERVER = `
import json, sys, time
import numpy as np, torch
n, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(${THREADS})
torch.manual_seed(0)
k = min(512, n)
U, V = (torch.linalg.qr(torch.randn(n, k))[0] for _ in range(2))
i = torch.arange(k).float()
noise = torch.randn(n, n) / n ** 0.5
SPECTRA = {'0.9^i + 1e-3 noise': (0.9 ** i, 1e-3), '1/i + 1e-3 noise': (1 / (1 + i), 1e-3)}
matrices = []
for j, (name, (s, level)) in enumerate(SPECTRA.items()):
    A = (U * s) @ V.T + level * noise
    A.numpy().tofile(f'{folder}/{j}')
    matrices.append(A)
print(json.dumps({'version': torch.__version__, 'names': list(SPECTRA)}), flush=True)
for line in sys.stdin:
    j, r = map(int, line.split())
    A = matrices[j]
    start = time.perf_counter()
    u, s, v = torch.svd_lowrank(A, q=r + 8, niter=2)
    seconds = time.perf_counter() - start
    E = A.double() - (u[:, :r].double() * s[:r]) @ v[:, :r].double().T
    print(json.dumps({'seconds': seconds, 'error': (E.norm() / A.double().norm()).item()}), flush=True)
`

export async function benchTruncated(size = 4096, name = 'wasm') {
  console.log(
    `\nTruncated SVD, ${size} × ${size} float32, ${name} engine, ${THREADS} threads; milliseconds, best of ${RUNS}`,
  )
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  const outfile = fileURLToPath(new URL('../dist/bench-truncated.mjs', import.meta.url))
  const server = spawn(PYTHON, ['-c', SERVER, String(size), folder], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    const { open, truncatedSvd } = await load(outfile, name)
    const engine = open()
    const answers = createInterface({ input: server.stdout })[Symbol.asyncIterator]()
    const answer = async () => JSON.parse((await answers.next()).value)
    const { version, names } = await answer()
    console.log(`  PyTorch ${version}`)
    for (const [j, spectrum] of names.entries()) {
      const bytes = readFileSync(join(folder, String(j)))
      const A = {
        rows: size,
        columns: size,
        data: new Float32Array(bytes.buffer, bytes.byteOffset, size * size),
      }
      for (const rank of RANKS) await compare(`${spectrum}, rank ${rank}`, j, A, rank)
    }

    async function compare(title, j, A, rank) {
      let torch = Number.POSITIVE_INFINITY
      let torchError = Number.POSITIVE_INFINITY
      const ours = { default: { time: Number.POSITIVE_INFINITY }, none: { time: Number.POSITIVE_INFINITY } }
      for (let run = 0; run < RUNS; run++) {
        server.stdin.write(`${j} ${rank}\n`)
        const { seconds, error } = await answer()
        torch = Math.min(torch, 1000 * seconds)
        torchError = Math.min(torchError, error)
        for (const certify of ['none', 'default']) {
          const profile = new Map()
          const start = performance.now()
          const result = truncatedSvd(
            A,
            { kind: 'rank', rank },
            { engine: profiled(engine, profile), certify },
          )
          const time = performance.now() - start
          if (time < ours[certify].time) ours[certify] = { time, result, profile }
        }
      }
      console.log(
        `  ${title}\n    PyTorch           ${torch.toFixed(0).padStart(5)}         error ${torchError.toFixed(7)}`,
      )
      for (const [certify, limit] of Object.entries(LIMITS)) {
        const { time, result, profile } = ours[certify]
        const { atLeast } = result.optimalError
        const error = achieved(engine, A, result)
        console.log(
          `    certify ${certify.padEnd(8)}  ${time.toFixed(0).padStart(5)} ${(time / torch).toFixed(2)}x (limit ${limit})` +
            ` error ${error.toFixed(7)}, optimum at least ${atLeast.toFixed(7)} (${result.certificate.kind})`,
        )
        console.log(`      ${phases(profile, time)}`)
      }
    }
  } finally {
    server.kill()
    rmSync(outfile, { force: true })
    rmSync(folder, { recursive: true })
  }
}

async function load(outfile, name) {
  const entry = fileURLToPath(new URL('../dist/bench-truncated-entry.ts', import.meta.url))
  const engine =
    name === 'lapack'
      ? `import { createLapackEngine } from '../src/engine/lapack/lapack-engine.ts'
         export const open = () => createLapackEngine({ threads: ${THREADS} }).engine`
      : `import { createWasmEngine } from '../src/engine/wasm/wasm-engine.ts'
         export const open = () => createWasmEngine({ threads: ${THREADS} })`
  writeFileSync(entry, `export { truncatedSvd } from '../src/truncation/truncated-svd.ts'\n${engine}\n`)
  try {
    await build({
      entryPoints: [entry],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['koffi'],
    })
  } finally {
    rmSync(entry)
  }
  return import(pathToFileURL(outfile).href)
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

/** The engine with the time spent in each kind of call added up in `profile`. */
function profiled(engine, profile) {
  const timed =
    (name, call) =>
    (...operands) => {
      const start = performance.now()
      const result = call(...operands)
      profile.set(name, (profile.get(name) ?? 0) + performance.now() - start)
      return result
    }
  const swept = (resident) =>
    Object.fromEntries(
      Object.entries(resident).map(([method, call]) => {
        if (typeof call !== 'function') return [method, call]
        return [
          method,
          (X, Y) => {
            const operand = X ? ` ${X.columns} ${X.data instanceof Float32Array ? 'f32' : 'f64'}` : ''
            return timed(method + operand, call)(X, Y)
          },
        ]
      }),
    )
  return {
    ...engine,
    multiply: timed('basis products', engine.multiply),
    gram: timed('basis grams', engine.gram),
    symmetricEigen: timed('eigen', engine.symmetricEigen),
    svd: timed('svd', engine.svd),
    resident: (A) => swept(timed('resident', engine.resident)(A)),
  }
}

function phases(profile, time) {
  const parts = [...profile].sort((a, b) => b[1] - a[1])
  const rest = parts.reduce((left, [, milliseconds]) => left - milliseconds, time)
  return [...parts, ['other', rest]]
    .filter(([, milliseconds]) => milliseconds >= 1)
    .map(([name, milliseconds]) => `${name} ${milliseconds.toFixed(0)}`)
    .join(', ')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await benchTruncated(Number(process.argv[2] ?? 4096), process.argv[3])
}
