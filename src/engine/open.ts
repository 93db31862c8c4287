import { availableParallelism } from 'node:os'
import { LoraSvdError } from '../errors.ts'
import type { Engine } from '../linalg/engine.ts'
import { type EngineFor, type EngineRequest, preferredEngine } from './choice.ts'
import { jsEngine } from './js/js-engine.ts'
import type { Found } from './lapack/lapack-engine.ts'
import { createWasmEngine } from './wasm/wasm-engine.ts'

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
  const name = preferredEngine(request.engine, flops)
  if (name === 'js') return jsEngine
  const lapack = name === 'lapack' ? await openLapack(request, notice) : undefined
  if (lapack !== undefined) return lapack.engine
  const { createWasmEngine } = await import('./wasm/wasm-engine.ts')
  return createWasmEngine({ threads: request.threads ?? availableParallelism() })
}

/**
 * The system's LAPACK; undefined where there is none to be used, which `notice` gets a line about unless none was to be
 * expected. Throws LoraSvdError 'no-engine' when it is asked for by name and can't be had.
 */
export async function openLapack(
  request: EngineRequest,
  notice: (line: string) => void,
): Promise<Found | undefined> {
  const { createLapackEngine } = await import('./lapack/lapack-engine.ts')
  const { threads = availableParallelism(), checked } = request
  const found = createLapackEngine({ threads, checked })
  if ('engine' in found) return found
  if (request.engine === 'lapack') throw new LoraSvdError('no-engine', `--engine lapack: ${found.reason}`)
  if (!found.isAbsent) notice(`the embedded engine computes, because ${found.reason}`)
  return undefined
}

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
