import type { Engine, EngineName } from '../engine/engine.ts'
import { openEngine } from '../engine/open-engine.ts'
import { type EngineRequest, preferredEngine } from '../engine/policy.ts'

/**
 * Opens each engine once and keeps it: the embedded one costs time to make and its memory never shrinks. A LAPACK that
 * can't be had is looked for once.
 */
export function keptEngines(
  request: EngineRequest,
  notice: (line: string) => void,
): (flops: number) => Promise<Engine> {
  const kept = new Map<EngineName, Engine>()
  return async (flops) => {
    const wanted = preferredEngine(request.engine, flops)
    const found = kept.get(wanted)
    if (found !== undefined) return found
    const opened = await openEngine(request, flops, notice)
    const engine = kept.get(opened.name) ?? opened
    kept.set(wanted, engine).set(engine.name, engine)
    return engine
  }
}
