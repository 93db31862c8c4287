import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createWasmEngine, type WasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { type Matrix, matrix } from '../../src/linalg/matrix/matrix.ts'
import { generator, randomMatrix, sameBits } from './support.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const random = generator(41)
const A = { f32: randomMatrix(650, 600, 'f32', random), f64: randomMatrix(650, 600, 'f64', random) }
const B = { f32: randomMatrix(600, 610, 'f32', random), f64: randomMatrix(600, 610, 'f64', random) }
const X = { f32: randomMatrix(600, 20, 'f32', random), f64: randomMatrix(600, 20, 'f64', random) }
const left = randomMatrix(650, 70, 'f64', random)
const right = randomMatrix(70, 600, 'f32', random)

/** Multiplies until all workers of the engine have started and helped, without ever returning to the event loop. */
function waitForHelp(engine: WasmEngine): number {
  const deadline = Date.now() + 20_000
  while (engine.runtime.joins() < 2 * engine.threads && Date.now() < deadline) engine.multiply(A.f32, B.f32)
  return engine.runtime.joins()
}

/** Every kind of product, in both float types. */
function results(engine: WasmEngine): Matrix[] {
  const numbers: number[] = []
  const products = (['f32', 'f64'] as const).flatMap((type) => {
    const held = engine.resident(A[type])
    numbers.push(held.frobeniusSquared(), held.residualSquared(left, right))
    const ofHeld = [
      held.multiply(X[type]),
      held.multiplyTransposed(held.multiply(X[type])),
      held.multiplyNormal(X[type]),
    ]
    held.release()
    return [engine.multiply(A[type], B[type]), engine.gram(A[type]), ...ofHeld]
  })
  return [...products, matrix(1, numbers.length, Float64Array.from(numbers))]
}

describe('threads', () => {
  it('join while the calling thread computes, and change no bit of any result', () => {
    const alone = createWasmEngine({ threads: 1 })
    const expected = results(alone)
    expect(waitForHelp({ ...alone, threads: 0 })).toBe(0)
    for (const threads of [2, 3, 4]) {
      const engine = createWasmEngine({ threads })
      expect(waitForHelp(engine)).toBeGreaterThanOrEqual(2 * threads)
      for (let round = 0; round < 2; round++) {
        results(engine).forEach((result, i) => {
          expect(sameBits(result, expected[i])).toBe(true)
        })
      }
      engine.close()
    }
  })

  it('leave after close, which later products do not notice', () => {
    const engine = createWasmEngine({ threads: 2 })
    const before = engine.multiply(A.f32, B.f32)
    engine.close()
    const joins = engine.runtime.joins()
    expect(sameBits(engine.multiply(A.f32, B.f32), before)).toBe(true)
    engine.close()
    expect(engine.runtime.joins()).toBe(joins)
  })

  it('run thousands of short tasks without a hang', () => {
    const engine = createWasmEngine({ threads: 3 })
    waitForHelp(engine)
    const S = randomMatrix(130, 130, 'f32', random)
    const expected = engine.multiply(S, S)
    for (let i = 0; i < 2000; i++) {
      if (!sameBits(engine.multiply(S, S), expected)) expect.fail(`product ${i} differs`)
    }
    engine.close()
  })
})

describe('the bundled engine', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-engine-'))
  const script = (body: string) => `
    import { createWasmEngine } from './engine.js'
    const engine = createWasmEngine({ threads: 3 })
    const A = { rows: 700, columns: 700, data: new Float32Array(490_000).fill(1) }
    ${body}
    console.log(engine.multiply(A, A).data[5], engine.runtime.joins() > 0)
  `

  beforeAll(async () => {
    await build({
      absWorkingDir: root,
      entryPoints: ['src/engine/wasm/wasm-engine.ts'],
      outfile: join(folder, 'engine.js'),
      bundle: true,
      platform: 'node',
      format: 'esm',
    })
    for (const name of ['engine.wasm', 'worker.cjs'])
      copyFileSync(join(root, 'dist', name), join(folder, name))
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    writeFileSync(
      join(folder, 'busy.js'),
      script('while (engine.runtime.joins() === 0) engine.multiply(A, A)'),
    )
    writeFileSync(join(folder, 'starting.js'), script(''))
    writeFileSync(join(folder, 'failing.js'), script('engine.multiply(A, A); throw new Error("on purpose")'))
  })

  afterAll(() => rmSync(folder, { recursive: true }))

  const run = (name: string) =>
    promisify(execFile)(process.execPath, [join(folder, name)], { timeout: 30_000 }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error) => error as { code: number; stdout: string; stderr: string },
    )

  it('lets the process end by itself while workers sleep', async () => {
    expect(await run('busy.js')).toMatchObject({ code: 0, stdout: '700 true\n', stderr: '' })
  })

  it('lets the process end by itself while workers start', async () => {
    expect(await run('starting.js')).toMatchObject({ code: 0, stderr: '' })
  })

  it('lets the process end on an uncaught error', async () => {
    const { code, stderr } = await run('failing.js')
    expect(code).toBe(1)
    expect(stderr).toContain('on purpose')
  })

  it('names the file that is missing', async () => {
    rmSync(join(folder, 'engine.wasm'))
    const { code, stderr } = await run('starting.js')
    expect(code).toBe(1)
    expect(stderr).toContain(`can't load the embedded engine from ${join(folder, 'engine.wasm')}`)
  })
})
