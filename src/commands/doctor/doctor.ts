import { availableParallelism } from 'node:os'
import type { LapackLibrary } from '../../engine/lapack/lapack-engine.ts'
import { createWasmEngine } from '../../engine/wasm/wasm-engine.ts'
import { ExitCode } from '../../errors.ts'
import type { Engine } from '../../linalg/engine.ts'
import { jsonDocument } from '../../report/json.ts'
import { table } from '../../report/table.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { wrap } from '../../text/width.ts'
import { type OutputFlags, print } from '../print.ts'
import { type SelfTest, type Speed, selfTest, speedOf } from './self-test.ts'

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

export interface DoctorFlags extends OutputFlags {
  readonly threads?: number
}

/** Looks at every engine and prints what it found. The exit code is 1 where an engine that is here fails its self-test. */
export async function printDoctor(flags: DoctorFlags, terminal: Terminal): Promise<number> {
  const { threads = availableParallelism() } = flags
  const machine: Machine = {
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    threads: availableParallelism(),
  }
  const engines = [examineWasm(threads), await examineLapack(threads)]
  await print(
    terminal,
    flags,
    () => jsonDocument('doctor', 1, { machine, engines }),
    () => doctorTables(machine, engines, terminal),
  )
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

/** The report of `doctor`: one row an engine, then what is missing and how to get it. */
function doctorTables(
  machine: Machine,
  engines: readonly EngineReport[],
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const rows = engines.map((engine) =>
    engine.available
      ? [
          engine.name,
          engine.selfTest.passed ? paint.green('passed') : paint.red('failed'),
          String(engine.threads),
          engine.gflops.f32.toFixed(0),
          engine.gflops.f64.toFixed(0),
        ]
      : [engine.name, paint.yellow('not here'), '', '', ''],
  )
  const head = ['engine', 'self-test', 'threads', 'GF/s f32', 'GF/s f64'].map((text) => paint.bold(text))
  const notes = engines.flatMap((engine) => {
    if (!engine.available) return [`${engine.name}: ${engine.reason}`]
    if (engine.library === undefined) return []
    const { path, version, integers } = engine.library
    return [`${engine.name}: ${path} (${version}, ${integers})`]
  })
  return [
    `node ${machine.node} · ${machine.platform} · ${machine.threads} threads`,
    table(rows, columns, head, [2, 3, 4]),
    ...notes.map((note) => wrap(note, columns)),
    '',
  ].join('\n')
}
