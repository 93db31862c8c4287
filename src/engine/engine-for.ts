import { availableParallelism } from 'node:os'
import type { Engine } from './engine.ts'
import { jsEngine } from './js/js-engine.ts'
import { preferredEngine } from './policy.ts'
import { createWasmEngine } from './wasm/wasm-engine.ts'

/** Gives an engine for work of about `flops`. */
export type EngineFor = (flops: number) => Engine

let embedded: Engine | undefined

/**
 * The engine that the library uses for work of about `flops`: plain loops for little, else the embedded engine, made
 * on first use and kept. The system's LAPACK is used only by those who ask for it, so that results are the same
 * bits on every machine.
 */
export const engineFor: EngineFor = (flops) => {
  if (preferredEngine('auto', flops) === 'js') return jsEngine
  embedded ??= createWasmEngine({ threads: availableParallelism() })
  return embedded
}
