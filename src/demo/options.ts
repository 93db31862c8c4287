import type { EngineRequest } from '../engine/policy.ts'
import type { FloatType } from '../matrix/matrix.ts'
import type { Tolerances } from './measure.ts'
import type { NotebookOptions } from './notebook.ts'

export interface DemoOptions extends NotebookOptions, Tolerances, EngineRequest {
  readonly seed: bigint
  readonly rng: 'seedrandom' | 'torch'
  readonly dtype: FloatType
}

export interface DemoOutput {
  readonly json: boolean
  readonly quiet: boolean
  /** Print the matrices in the report, as the notebook does. */
  readonly show: boolean
  /** Put the matrices into the JSON document. */
  readonly matrices: boolean
}
