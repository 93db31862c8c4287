import { jsEngine } from '../../../src/engine/js/js-engine.ts'
import { createWasmEngine } from '../../../src/engine/wasm/wasm-engine.ts'
import type { Engine } from '../../../src/linalg/engine.ts'

export { jsEngine }

/** The embedded engine, one thread. */
export const wasmEngine: Engine = createWasmEngine()

/** What holds for one must hold for the other. */
export const engines: readonly (readonly [string, Engine])[] = [
  ['js', jsEngine],
  ['wasm', wasmEngine],
]
