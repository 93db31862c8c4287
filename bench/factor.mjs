// `factor` of a 4096 × 4096 float32 .npy at rank 16, as a whole process, beside a Python script that loads the same file, calls
// torch.svd_lowrank and saves the factors. Usage: node bench/factor.mjs [size]
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { seconds, takeTurns } from './timing.mjs'

const EXECUTABLE = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const SIZE = 4096
const RANK = 16
const ROUNDS = 5

/** A decaying spectrum plus noise, as weights have it. */
const MAKE = `
import sys
import numpy as np
path, n = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
s = 1 / (1 + np.arange(256))
U, V = (np.linalg.qr(rng.standard_normal((n, 256)))[0] for _ in range(2))
W = (U * s) @ V.T + 1e-3 * rng.standard_normal((n, n)) / n ** 0.5
np.save(path, W.astype(np.float32))
`

const PEER = `
import sys
import numpy as np, torch
path, out, r = sys.argv[1], sys.argv[2], int(sys.argv[3])
W = torch.from_numpy(np.load(path))
U, S, V = torch.svd_lowrank(W, q=r + 8, niter=2)
np.savez(out, lora_B=(U[:, :r] * S[:r]).numpy(), lora_A=V[:, :r].T.numpy())
`

const ERROR = `
import json, sys
import numpy as np
W, f = np.load(sys.argv[1]).astype(np.float64), np.load(sys.argv[2])
print(np.linalg.norm(W - f['lora_B'].astype(np.float64) @ f['lora_A']) / np.linalg.norm(W))
`

export async function benchFactor(size = SIZE) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  const path = (name) => join(folder, name)
  const python = (script, ...args) =>
    spawnSync('/usr/bin/python3', ['-c', script, ...args], { encoding: 'utf8' })
  console.log(
    `\nfactor of a ${size} × ${size} .npy at rank ${RANK}, whole processes, medians of ${ROUNDS} turns`,
  )
  try {
    if (python(MAKE, path('W.npy'), String(size)).status !== 0) {
      return console.log('  left out: apt-get install python3-numpy python3-torch')
    }
    const ours = (engine) => () => {
      const args = ['factor', path('W.npy'), '-o', path(`${engine}.npz`), '--rank', String(RANK)]
      return seconds(() => spawnSync('node', [EXECUTABLE, ...args, '-fq', '--engine', engine]))
    }
    const medians = await takeTurns(
      {
        python: () => seconds(() => python(PEER, path('W.npy'), path('python.npz'), String(RANK))),
        auto: ours('auto'),
        wasm: ours('wasm'),
      },
      ROUNDS,
    )
    for (const [name, time] of Object.entries(medians)) {
      const error = Number(python(ERROR, path('W.npy'), path(`${name}.npz`)).stdout)
      console.log(
        `  ${name.padEnd(7)} ${(time / medians.python).toFixed(2)} of Python's time, error ${error.toPrecision(6)}`,
      )
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await benchFactor(process.argv[2] === undefined ? undefined : Number(process.argv[2]))
}
