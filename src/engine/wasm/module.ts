/** Finding, compiling and instantiating the kernels of assembly/index.ts. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { LoraSvdError } from '../../errors.ts'

/** What the compiled kernels offer; documented in assembly/. Addresses may exceed 2³¹ and go in as they are. */
export interface Kernels {
  heapBase(): number
  scratchBytes(): number
  work(task: number, scratch: number): void
  subtract(
    count: number,
    tuned: number,
    typeTuned: number,
    base: number,
    typeBase: number,
    delta: number,
    sums: number,
  ): void
  addExponents(
    rows: number,
    columns: number,
    a: number,
    type: number,
    least: number,
    delta: number,
    byRow: number,
    byColumn: number,
  ): void
  mirrorLower(c: number, n: number): void
  symvUpper(n: number, a: number, stride: number, x: number, y: number): void
  gemv(alpha: number, rows: number, columns: number, a: number, stride: number, x: number, y: number): void
  gemvTransposed(
    alpha: number,
    rows: number,
    columns: number,
    a: number,
    stride: number,
    x: number,
    y: number,
  ): void
  ger(alpha: number, rows: number, columns: number, x: number, y: number, a: number, stride: number): void
  packRight(target: number, x: number, arithmetic: number, columns: number, depth: number): void
  sumTree(partials: number, count: number): number
  sumMatrices(partials: number, count: number, length: number, arithmetic: number): void
  rotate(n: number, x: number, y: number, c: number, s: number): void
}

/** Where built files may be, seen from here: beside the bundle, beside its chunks, or in dist/ before bundling. */
const PLACES = ['./', '../', '../../../dist/']

/** A file that the build makes. When there is none, the place a bundle has it, for the error to name. */
export function builtFile(name: 'engine.wasm' | 'worker.js' | 'job-worker.js'): URL {
  const urls = PLACES.map((place) => new URL(place + name, import.meta.url))
  return urls.find((url) => existsSync(url)) ?? urls[0]
}

/** Put here by the build of the library, whose files may be bundled into a program: engine.wasm and worker.js in base64. */
declare const EMBEDDED_KERNELS: string
declare const EMBEDDED_WORKER: string

/** The program of the engine's threads. */
export const workerProgram = (): URL =>
  typeof EMBEDDED_WORKER === 'undefined'
    ? builtFile('worker.js')
    : new URL(`data:text/javascript;base64,${EMBEDDED_WORKER}`)

/** Compiles the kernels. Throws LoraSvdError 'system' when the built file is missing or unreadable. */
export const compileKernels = (): WebAssembly.Module =>
  typeof EMBEDDED_KERNELS === 'undefined'
    ? compileBuilt(builtFile('engine.wasm'))
    : new WebAssembly.Module(Buffer.from(EMBEDDED_KERNELS, 'base64'))

function compileBuilt(url: URL): WebAssembly.Module {
  try {
    return new WebAssembly.Module(readFileSync(url))
  } catch (cause) {
    throw new LoraSvdError(
      'system',
      `can't load the embedded engine from ${fileURLToPath(url)}; reinstall, or run: npm run build`,
      { cause },
    )
  }
}

/** The kernels on `memory`. */
export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const instance = new WebAssembly.Instance(module, { env: { memory } })
  return instance.exports as unknown as Kernels
}
