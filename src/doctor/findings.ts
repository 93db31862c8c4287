import type { LapackLibrary } from '../engine/lapack/lapack-engine.ts'
import type { SelfTest } from './self-test.ts'
import type { Speed } from './speed.ts'

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
