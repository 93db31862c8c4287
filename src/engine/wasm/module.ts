/** Finding, compiling and instantiating the kernels of assembly/index.ts. */
import { existsSync, readFileSync } from 'node:fs'
import { LoraSvdError } from '../../errors.ts'

/** What the compiled kernels offer; documented in assembly/. Addresses may exceed 2³¹ and go in as they are. */
export interface Kernels {
  heapBase(): number
  scratchBytes(): number
  work(task: number, scratch: number): void
  mirrorLower(c: number, n: number): void
  symv(n: number, a: number, stride: number, x: number, y: number): void
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
  rotate(n: number, x: number, y: number, c: number, s: number): void
}

/** A built file of the engine: beside the bundle, or in dist/ when this file runs from its source. */
export function builtFile(name: 'engine.wasm' | 'worker.js'): URL {
  const beside = new URL(`./${name}`, import.meta.url)
  return existsSync(beside) ? beside : new URL(`../../../dist/${name}`, import.meta.url)
}

/** Compiles the kernels. Throws LoraSvdError 'system' when the built file is missing or unreadable. */
export function compileKernels(): WebAssembly.Module {
  const url = builtFile('engine.wasm')
  try {
    return new WebAssembly.Module(readFileSync(url))
  } catch (cause) {
    throw new LoraSvdError(
      'system',
      `can't load the embedded engine from ${url.pathname}; reinstall, or run: npm run build`,
      { cause },
    )
  }
}

/** The kernels on `memory`. */
export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const instance = new WebAssembly.Instance(module, { env: { memory } })
  return instance.exports as unknown as Kernels
}
