// Planted directions that stand above the noise floor, by the dtypes alone and with what the spectrum says: "8 of 8" beside it
// is the truth. Strengths are in edges of the rounding of both sides, of the weakest direction; the strongest has twice that.
//   node bench/noise-floor.mjs [rows] [columns]
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const [ROWS, COLUMNS] = [Number(process.argv[2] ?? 256), Number(process.argv[3] ?? 192)]
const PAIRS = [
  ['bf16', 'bf16'],
  ['bf16', 'f32'],
  ['f32', 'bf16'],
  ['f16', 'f16'],
  ['f32', 'f32'],
]
const STRENGTHS = [0.5, 1, 2, 4, 8]
const RANKS = [1, 8]

/** The sources, as a module that this Node can load, beside the built engine. */
async function sources() {
  const outfile = join(ROOT, 'dist', `bench-noise-floor-${process.pid}.mjs`)
  try {
    await build({
      stdin: {
        contents: `
          export { counted } from './test/linalg/spectrum/planted-count.ts'
          export { plantedPair } from './test/linalg/spectrum/planted.ts'
        `,
        resolveDir: ROOT,
      },
      bundle: true,
      format: 'esm',
      platform: 'node',
      outfile,
      logLevel: 'silent',
    })
    return await import(pathToFileURL(outfile))
  } finally {
    rmSync(outfile, { force: true })
  }
}

const { counted, plantedPair } = await sources()
let [worse, tooMany] = [0, 0]
const heads = STRENGTHS.map((strength) => `${strength} edges`.padStart(12)).join('')
console.log(`${ROWS} × ${COLUMNS}: by the dtypes → settled`.padEnd(44) + heads)
for (const [ofBase, ofTuned] of PAIRS) {
  for (const isExact of [true, false]) {
    for (const rank of RANKS) {
      const cells = STRENGTHS.map((strength) => {
        const pair = plantedPair(ROWS, COLUMNS, { ofBase, ofTuned, isExact, rank, strength, seed: 5 })
        const { plain, settled } = counted(pair, ofBase, ofTuned)
        if (settled < plain) worse++
        if (settled > rank) tooMany++
        return `${plain} → ${settled}`.padStart(12)
      })
      const name = `${ofBase} → ${ofTuned}, ${isExact ? 'exact' : 'rounded'} base, ${rank} planted`
      console.log(name.padEnd(44) + cells.join(''))
    }
  }
}
console.log(`fewer than by the dtypes: ${worse}; more than were planted: ${tooMany}`)
