import { availableParallelism } from 'node:os'
import type { LapackLibrary } from '../../engine/lapack/lapack-engine.ts'
import { createWasmEngine } from '../../engine/wasm/wasm-engine.ts'
import { ExitCode } from '../../errors.ts'
import type { Engine } from '../../linalg/engine.ts'
import { jsonDocument, writeJson } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type SelfTest, type Speed, selfTest, speedOf } from './self-test.ts'
import { doctorTables } from './text.ts'

export interface Machine {
  readonly node: string
  readonly platform: string
  readonly threads: number
}

/** One engine as it is found here: what it computes with, whether it is right, how fast; or why it can't be used. */
export type EngineReport =
  | {
      readonly name: 'wasm' | 'lapack'
      readonly available: true
      readonly threads: number
      readonly library?: LapackLibrary
      readonly selfTest: SelfTest
      readonly gflops: Speed
    }
  | { readonly name: 'wasm' | 'lapack'; readonly available: false; readonly reason: string }

/** Looks at every engine and reports. The exit code is 1 where an engine that is here fails its self-test. */
export async function doctor(
  request: { readonly threads?: number | undefined },
  output: { json: boolean; quiet: boolean },
  terminal: Terminal,
): Promise<number> {
  const threads = request.threads ?? availableParallelism()
  const machine: Machine = {
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    threads: availableParallelism(),
  }
  const engines = [examineWasm(threads), await examineLapack(threads)]
  if (output.json) await writeJson(terminal, jsonDocument('doctor', 1, { machine, engines }))
  else if (!output.quiet) await terminal.out(doctorTables(machine, engines, terminal))
  const holds = engines.every((engine) => !engine.available || engine.selfTest.passed)
  return holds ? ExitCode.ok : ExitCode.checkFailed
}

function examineWasm(threads: number): EngineReport {
  try {
    const engine = createWasmEngine({ threads })
    return { name: 'wasm', available: true, threads: engine.threads, ...examined(engine) }
  } catch (error) {
    return { name: 'wasm', available: false, reason: error instanceof Error ? error.message : String(error) }
  }
}

async function examineLapack(threads: number): Promise<EngineReport> {
  // a bundle of its own, so that a library that crashes does so in another process
  const { createLapackEngine } = await import('../../engine/lapack/lapack-engine.ts')
  const found = createLapackEngine({ threads })
  if (!('engine' in found)) return { name: 'lapack', available: false, reason: found.reason }
  const { engine, library } = found
  return { name: 'lapack', available: true, threads: engine.threads, library, ...examined(engine) }
}

const examined = (engine: Engine) => ({ selfTest: selfTest(engine), gflops: speedOf(engine) })
