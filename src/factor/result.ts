import type { EngineName } from '../engine/engine.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import type { NamedMatrix } from '../formats/read-matrix.ts'
import type { TruncatedSvd } from '../truncation/types.ts'
import type { FactorPlan } from './plan.ts'

/** What `factor` found and wrote. */
export interface FactorResult {
  readonly plan: FactorPlan
  readonly source: NamedMatrix
  readonly engine: EngineName
  readonly truncation: TruncatedSvd
  readonly dtype: FloatDtype
  /** ‖W − B·A‖_F / ‖W‖_F of the factors as they lie on disk. */
  readonly relativeError: number
  /** Whether what is on disk does what the rule asked. */
  readonly holds: boolean
  readonly bytes: number
}
