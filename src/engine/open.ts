import { availableParallelism } from 'node:os'
import { LoraSvdError } from '../errors.ts'
import type { Engine, EngineName } from '../linalg/engine.ts'
import { jsEngine } from './js/js-engine.ts'
import { createWasmEngine } from './wasm/wasm-engine.ts'

/** What a user asks for: an engine by name, or the one that suits the work. */
export type EngineChoice = 'auto' | 'wasm' | 'lapack'

export interface EngineRequest {
  readonly engine: EngineChoice
  /** Threads that compute, the calling one included; those the machine has when undefined. */
  readonly threads?: number | undefined
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

/**
 * The engine for work of about `flops`; all but plain loops are loaded only when they are needed.
 * `notice` gets a line when `auto` finds a LAPACK that it can't trust and takes the embedded engine instead.
 * Throws LoraSvdError 'no-engine' when `lapack` is asked for by name and can't be had.
 */
export async function openEngine(
  request: EngineRequest,
  flops: number,
  notice: (line: string) => void,
): Promise<Engine> {
  const threads = request.threads ?? availableParallelism()
  const name = preferredEngine(request.engine, flops)
  if (name === 'js') return jsEngine
  const lapack = name === 'lapack' ? await openLapack(request, notice) : undefined
  return lapack ?? (await import('./wasm/wasm-engine.ts')).createWasmEngine({ threads })
}

/**
 * The system's LAPACK; undefined where there is none to be used, which `notice` gets a line about unless none was to be
 * expected. Throws LoraSvdError 'no-engine' when it is asked for by name and can't be had.
 */
export async function openLapack(
  request: EngineRequest,
  notice: (line: string) => void,
): Promise<Engine | undefined> {
  const { createLapackEngine } = await import('./lapack/lapack-engine.ts')
  const found = createLapackEngine({ threads: request.threads ?? availableParallelism() })
  if ('engine' in found) return found.engine
  if (request.engine === 'lapack') throw new LoraSvdError('no-engine', `--engine lapack: ${found.reason}`)
  if (!found.isAbsent) notice(`the embedded engine computes, because ${found.reason}`)
  return undefined
}

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
