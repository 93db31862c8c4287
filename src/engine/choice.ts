import type { Engine, EngineName } from '../linalg/engine.ts'

/** What a user asks for: an engine by name, or the one that suits the work. */
export type EngineChoice = 'auto' | 'wasm' | 'lapack'

export interface EngineRequest {
  readonly engine: EngineChoice
  /** Threads that compute, the calling one included; those the machine has when undefined. */
  readonly threads?: number | undefined
  /** The LAPACK that this process has checked, which its other threads need not again. */
  readonly checked?: string | undefined
}

/** Up to so many flops plain loops are done before another engine is loaded: a little more than a 64 × 64 SVD. */
const PLAIN_LOOPS_UP_TO = 64 ** 3
/** From so many flops on the system's LAPACK saves more than finding, loading and checking it takes. */
const LAPACK_PAYS_FROM = 700 ** 3

/** The engine that `choice` means for work of about `flops`; where `auto` names lapack, wasm is the second choice. */
export function preferredEngine(choice: EngineChoice, flops: number): EngineName {
  if (choice !== 'auto') return choice
  if (flops <= PLAIN_LOOPS_UP_TO) return 'js'
  return flops >= LAPACK_PAYS_FROM ? 'lapack' : 'wasm'
}

/** The flops of a full decomposition of a `rows` × `columns` matrix, up to a small factor. */
export const decompositionFlops = (rows: number, columns: number) => rows * columns * Math.min(rows, columns)

/** Gives an engine for work of about `flops`. */
export type EngineFor = (flops: number) => Engine
