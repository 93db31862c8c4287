import { builtFile, withBuilt } from '../../io/built-file.ts'

/** Finding, compiling and instantiating the kernels of assembly/index.ts. */

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
  addSquares(rows: number, columns: number, a: number, byRow: number, byColumn: number): void
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
  rescale(count: number, from: number, to: number, first: number, second: number): void
  splitHalves(count: number, from: number, to: number, first: number, second: number): number
  addRounded(
    rows: number,
    columns: number,
    rank: number,
    w: number,
    typeW: number,
    b: number,
    a: number,
    out: number,
    typeOut: number,
    product: number,
    sums: number,
  ): void
  takeStripes(lanes: number, bytes: number, count: number): void
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
  largestAbs(n: number, x: number): number
  scale(n: number, factor: number, x: number): void
  divide(n: number, divisor: number, x: number): void
  sumOfSquares(n: number, x: number): number
  makeReflector(n: number, x: number): number
  factorPanel(rows: number, columns: number, x: number, stride: number, tau: number, products: number): void
  reducePanel(
    n: number,
    g: number,
    stride: number,
    start: number,
    b: number,
    vw: number,
    diagonal: number,
    offDiagonal: number,
    tau: number,
    scratch: number,
  ): void
  tridiagonalQl(n: number, d: number, e: number, z: number, stride: number, width: number): number
  secularRoots(n: number, d: number, z2: number, rho: number, s: number, roots: number): number
  secularVectors(
    n: number,
    d: number,
    z: number,
    s: number,
    position: number,
    needed: number,
    exact: number,
    vector: number,
  ): void
  singularValues(n: number, m: number, x: number, d: number, e: number, u: number, w: number): number
  inverseIteration(
    n: number,
    d: number,
    e: number,
    reflectors: number,
    stride: number,
    tau: number,
    count: number,
    values: number,
    z: number,
    scratch: number,
  ): number
  orthogonalize(n: number, m: number, work: number, rotations: number, squares: number): number
}

/** Put here by the build of the library, whose files may be bundled into a program: engine.wasm and the program of worker.cjs in base64. */
declare const EMBEDDED_KERNELS: string
declare const EMBEDDED_WORKER: string

/** The program of the engine's threads. */
export const workerProgram = (): URL =>
  typeof EMBEDDED_WORKER === 'undefined'
    ? builtFile('worker.cjs')
    : new URL(`data:text/javascript;base64,${EMBEDDED_WORKER}`)

/** Compiles the kernels. Throws LoraSvdError 'system' when the built file is missing or unreadable. */
export const compileKernels = (): WebAssembly.Module =>
  typeof EMBEDDED_KERNELS === 'undefined'
    ? withBuilt(
        'engine.wasm',
        (bytes) => new WebAssembly.Module(bytes),
        (path) => `can't load the embedded engine from ${path}`,
      )
    : new WebAssembly.Module(Uint8Array.from(atob(EMBEDDED_KERNELS), (c) => c.charCodeAt(0)))

/** The kernels on `memory`. */
export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const instance = new WebAssembly.Instance(module, { env: { memory } })
  return instance.exports as unknown as Kernels
}
