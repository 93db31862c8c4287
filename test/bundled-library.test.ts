import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fromRows, multiply, svd } from '../src/index.ts'

/** Large enough that the embedded engine starts threads for a product, and decomposes with its kernels. */
const [LARGE, SMALL] = [700, 90]

/** Prints what the library computes, and what became of the threads that it started. */
const PROGRAM = `
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import threads from 'node:worker_threads'
import { fromRows, multiply, svd } from 'lora-svd'
import { all, create } from 'mathjs'
import { loraSvd } from 'lora-svd/mathjs'

const workers = []
threads.Worker = class extends threads.Worker {
  constructor(...args) {
    super(...args)
    workers.push(once(this, 'online').then(() => 'online', (error) => String(error)))
  }
}
syncBuiltinESMExports()
const rows = (n) => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Math.sin(i * n + j)))
const digest = (data) => createHash('sha256').update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest('hex')
const [A, B] = [fromRows(rows(${LARGE})), fromRows(rows(${SMALL}))]
const [product, S] = [digest(multiply(A, A).data), digest(svd(B).S)]
const math = create(all)
math.import(loraSvd)
const viaMathjs = digest(Float64Array.from(math.svd(rows(${SMALL})).S))
// keeps the process for the threads, which don't
const timer = setTimeout(() => {}, 30_000)
Promise.all(workers).then((started) => {
  clearTimeout(timer)
  console.log(JSON.stringify({ product, S, viaMathjs, started }))
})
`

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bundled-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The program's folder has the installed package, and the folder of the bundle nothing but the bundle. */
beforeAll(() => {
  const root = fileURLToPath(new URL('..', import.meta.url))
  mkdirSync(join(folder, 'source/node_modules'), { recursive: true })
  // copied, as npm installs it: bundlers look at what lies in node_modules with other eyes
  const installed = join(folder, 'source/node_modules/lora-svd')
  for (const part of ['package.json', 'dist'])
    cpSync(join(root, part), join(installed, part), { recursive: true })
  symlinkSync(join(root, 'node_modules/mathjs'), join(folder, 'source/node_modules/mathjs'))
  writeFileSync(join(folder, 'source/program.mjs'), PROGRAM)
})

const rows = (n: number) =>
  Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Math.sin(i * n + j)))
const digest = (data: Float64Array) => createHash('sha256').update(new Uint8Array(data.buffer)).digest('hex')

describe.each([
  ['an ES module', 'esm', 'mjs'],
  ['CommonJS', 'cjs', 'cjs'],
] as const)('a program with the library, bundled by esbuild into %s', (_, format, extension) => {
  it('computes the same bits, in threads, with no file beside it', async () => {
    const bundle = join(folder, format, `program.${extension}`)
    const { warnings } = await build({
      entryPoints: [join(folder, 'source/program.mjs')],
      outfile: bundle,
      bundle: true,
      platform: 'node',
      format,
      minify: true,
      logLevel: 'silent',
    })
    expect(warnings).toEqual([])
    expect(readdirSync(join(folder, format))).toEqual([`program.${extension}`])
    const output = JSON.parse(execFileSync(process.execPath, [bundle], { cwd: folder, encoding: 'utf8' }))
    const A = fromRows(rows(LARGE))
    const S = digest(svd(fromRows(rows(SMALL))).S)
    expect(output).toEqual({
      product: digest(multiply(A, A).data as Float64Array),
      S,
      viaMathjs: S,
      started: Array(availableParallelism() - 1).fill('online'),
    })
  })
})
