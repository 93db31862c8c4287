import { availableParallelism } from 'node:os'
import { LoraSvdError } from '../errors.ts'
import type { Engine } from './engine.ts'
import { jsEngine } from './js/js-engine.ts'
import { type EngineRequest, preferredEngine } from './policy.ts'

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
  if (name === 'lapack') {
    const { createLapackEngine } = await import('./lapack/lapack-engine.ts')
    const found = createLapackEngine({ threads })
    if ('engine' in found) return found.engine
    if (request.engine === 'lapack') throw new LoraSvdError('no-engine', `--engine lapack: ${found.reason}`)
    if (!found.isAbsent) notice(`the embedded engine computes, because ${found.reason}`)
  }
  return (await import('./wasm/wasm-engine.ts')).createWasmEngine({ threads })
}
