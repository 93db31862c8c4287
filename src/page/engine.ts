import { preferredEngine } from '../engine/choice.ts'
import { jsEngine } from '../engine/js/js-engine.ts'
import { createWasmEngine } from '../engine/wasm/wasm-engine.ts'
import type { Engine } from '../linalg/engine.ts'

let embedded: Engine | undefined

/**
 * The engine for work of about `flops`, as the command line chooses it where there is no LAPACK, so that results are the same bits: plain
 * loops for little, else WebAssembly, with threads where the page may share memory with them. Plain loops do all where a browser
 * has no WebAssembly with SIMD and shared memory; `engineNotice` says so.
 */
export function pageEngine(flops: number): Engine {
  if (preferredEngine('auto', flops) === 'js') return jsEngine
  embedded ??= wasmOrLoops()
  return embedded
}

/** What to tell a reader of the engine, if anything. */
export const engineNotice = (): string | undefined =>
  embedded === jsEngine
    ? 'This browser has no WebAssembly with SIMD: plain loops compute, which is slow.'
    : undefined

function wasmOrLoops(): Engine {
  const threads = crossOriginIsolated ? navigator.hardwareConcurrency : 1
  try {
    return createWasmEngine({ threads })
  } catch {
    return jsEngine
  }
}
