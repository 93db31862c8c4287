/** A worker's program for tests: jobs that compute, fail, wait and end their thread. */
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, threadId } from 'node:worker_threads'
import type { WasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { badInput } from '../../src/errors.ts'
import type { JobContext } from '../../src/jobs/worker.ts'
import { serveJobs } from '../../src/jobs/worker.ts'
import { generator, randomMatrix } from '../engine/support.ts'

export interface Decompose {
  readonly order: number
  readonly seed: number
}

export interface Decomposed {
  readonly values: Float64Array
  readonly engine: string
  readonly engineThreads: number
  /** Whether another thread of the engine has taken part. */
  readonly helped: boolean
}

/** Singular values of a product. */
export async function decompose({ order, seed }: Decompose, context: JobContext): Promise<Decomposed> {
  const engine = await context.engine(order ** 3)
  const A = randomMatrix(order, order, 'f64', generator(seed))
  const { S } = engine.svd(engine.multiply(A, A), 'none')
  const helped = 'runtime' in engine && (engine as WasmEngine).runtime.joins() > 0
  return { values: S, engine: engine.name, engineThreads: engine.threads, helped }
}

export interface Wait {
  readonly milliseconds: number
  readonly bytes?: number
  /** In shared memory: the job goes on only when it isn't 0. */
  readonly gate?: Int32Array | undefined
}

/** Waits, then says which thread it was that did. */
export async function wait({ milliseconds, bytes = 0, gate }: Wait, { notice }: JobContext) {
  notice('waiting takes time')
  await sleep(milliseconds)
  while (gate?.[0] === 0) await sleep(5)
  return { thread: threadId, data: new Uint8Array(bytes + 16).subarray(16) }
}

export type Fail = 'input' | 'type' | 'range' | 'memory' | 'exit' | 'spin' | 'function' | 'fine'

/** Goes wrong in the way that the job says. */
export async function fail(how: Fail): Promise<unknown> {
  switch (how) {
    case 'input':
      throw badInput('w.npy: row 1 is NaN', { file: 'w.npy', tensor: 'w' })
    case 'type':
      throw new TypeError('x is not a function')
    case 'range':
      throw new RangeError('Array buffer allocation failed')
    case 'memory': {
      const held: number[][] = []
      for (;;) held.push(Array.from({ length: 1e5 }, (_, i) => i + held.length / 3))
    }
    case 'exit':
      return process.exit(7)
    case 'spin':
      for (;;);
    case 'function':
      return { callback: () => 1 }
    case 'fine':
      return how
  }
}

if (parentPort !== null) {
  serveJobs({ decompose: async () => decompose, wait: async () => wait, fail: async () => fail })
}
