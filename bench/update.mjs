// W + B·A rounded once, in one thread: its operations a second beside those of a float64 product of our own, and its bytes of W a
// second beside a copy of as many from one place in memory to another: medians of turns.
//   node bench/update.mjs [rank] [rows] [columns]
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { seconds, takeTurns } from './timing.mjs'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const [RANK, ROWS, COLUMNS] = [16, 2048, 5632].map((size, i) => Number(process.argv[2 + i] ?? size))
const PAIRS = [
  ['bf16', 'bf16'],
  ['f16', 'f16'],
  ['f32', 'f32'],
  ['bf16', 'f32'],
  ['f32', 'bf16'],
]
const ROUNDS = 15
/** A product that fills the caches as a large one does, and takes a few milliseconds. */
const PRODUCT = 384

/** The sources, as a module that this Node can load, beside the built engine. */
async function sources() {
  const outfile = join(ROOT, 'dist', `bench-update-${process.pid}.mjs`)
  try {
    await build({
      stdin: {
        contents: `
          export { openUpdate, updatePanelRows } from './src/update/add-rounded.ts'
          export { withWorkspace } from './src/engine/wasm/workspace.ts'
          export { createWasmEngine } from './src/engine/wasm/wasm-engine.ts'
          export { encodeFloats } from './src/formats/dtype.ts'
          export { rowRange } from './src/linalg/matrix/matrix.ts'
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

const random = (rows, columns, scale) => ({
  rows,
  columns,
  data: Float64Array.from({ length: rows * columns }, () => (Math.random() - 0.5) * scale),
})

const { createWasmEngine, encodeFloats, openUpdate, rowRange, updatePanelRows, withWorkspace } =
  await sources()
const [B, A] = [random(ROWS, RANK, 0.02), random(RANK, COLUMNS, 0.02)]
const panelRows = updatePanelRows(ROWS, COLUMNS)
const engine = createWasmEngine({ threads: 1 })
const square = random(PRODUCT, PRODUCT, 1)

console.log(
  `W + B·A of rank ${RANK}, ${ROWS}×${COLUMNS} in panels of ${panelRows} rows, medians of ${ROUNDS} turns`,
)
for (const [dtype, out] of PAIRS) {
  await withWorkspace(async (workspace) => {
    const panel = encodeFloats(random(panelRows, COLUMNS, 0.1).data, dtype)
    const whole = new Uint8Array((panel.length / panelRows) * ROWS).fill(1)
    const other = new Uint8Array(whole.length).fill(2)
    const update = openUpdate(workspace, { A, dtype, out, panelRows })
    update.input(panelRows).set(panel)
    const addAll = () => {
      for (let first = 0; first < ROWS; first += panelRows) {
        update.add(rowRange(B, first, Math.min(ROWS, first + panelRows)))
      }
    }
    const { rounded, copied, product } = await takeTurns(
      {
        rounded: () => seconds(addAll),
        copied: () => seconds(() => other.set(whole)),
        product: () => seconds(() => engine.multiply(square, square)),
      },
      ROUNDS,
    )
    const speed = (2 * ROWS * COLUMNS * RANK) / rounded / ((2 * PRODUCT ** 3) / product)
    console.log(
      `  ${`${dtype} → ${out}`.padEnd(12)}  ${speed.toFixed(2)} of a product's operations a second   ` +
        `${(copied / rounded).toFixed(3)} of a copy's bytes a second`,
    )
  })
}
engine.close()
