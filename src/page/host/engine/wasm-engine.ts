import { jsEngine } from '../../../engine/js/js-engine.ts'
import {
  createWasmEngine as createRealEngine,
  type RuntimeOptions,
} from '../../../engine/wasm/wasm-engine.ts'
import type { Engine } from '../../../linalg/engine.ts'

/** Stands for engine/wasm/wasm-engine.ts: where a browser can't have the embedded engine, plain loops compute. */

/** A module with one instruction of fixed-width SIMD, i8x16.splat, which a browser without it refuses. */
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]

let known: boolean | undefined

/** Whether the browser runs the kernels: it has WebAssembly with SIMD, and a memory that threads could share. */
export function hasEmbeddedEngine(): boolean {
  known ??= tried()
  return known
}

function tried(): boolean {
  try {
    new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })
    return WebAssembly.validate(Uint8Array.from(SIMD))
  } catch {
    return false
  }
}

export const createWasmEngine = (options: RuntimeOptions): Engine =>
  hasEmbeddedEngine() ? createRealEngine(options) : jsEngine
