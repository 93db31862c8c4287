import type { Checkpoint } from '../checkpoint/types.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { floatDtypeOf } from '../formats/safetensors-dtype.ts'
import { type AdapterFormat, tensorsOf } from '../lora/model.ts'
import { COPY_OF_BASE } from '../lora/read/peft.ts'
import { type KeptTensor, keptTensors, type Prefer } from './kept.ts'
import { bringTogether, type Summand, type SummedLayer, type SummedModule } from './modules.ts'

/** A tensor of an adapter that nobody reads, so that nothing of it is in the result. */
export interface LostTensor {
  readonly path: string
  readonly name: string
  readonly reason: string
}

/** What the result is made of, from headers and configs. */
export interface CombinePlan {
  readonly format: AdapterFormat
  readonly summands: readonly Summand[]
  readonly modules: readonly SummedModule[]
  readonly layers: readonly SummedLayer[]
  readonly kept: readonly KeptTensor[]
  readonly lost: readonly LostTensor[]
  /** dtype of the factors. */
  readonly dtype: FloatDtype
  readonly warnings: readonly string[]
}

export interface CombineOptions {
  /** Tells which tensors modules of unlike names mean, and how experts are stored. */
  readonly base?: Checkpoint | undefined
  readonly dtype?: FloatDtype | undefined
  readonly prefer?: Prefer | undefined
}

/**
 * Brings the modules of all adapters together, in the names of the first. Throws `bad-input` where adapters don't fit each other, and
 * where two of them replace a whole tensor in two ways.
 */
export async function planSum(
  summands: readonly Summand[],
  { base, dtype, prefer }: CombineOptions,
): Promise<CombinePlan> {
  const { settled, modules, layers } = bringTogether(summands, base)
  return {
    format: settled[0].adapter.format,
    summands: settled,
    modules,
    layers,
    kept: await keptTensors(settled, prefer),
    lost: summands.flatMap(({ adapter: { path, ignored } }) =>
      ignored.filter(({ reason }) => reason !== COPY_OF_BASE).map((one) => ({ path, ...one })),
    ),
    dtype: dtype ?? commonDtype(modules),
    warnings: summands.flatMap(({ adapter }) => adapter.warnings),
  }
}

/** bf16 or f16 where all factors are stored so, else f32. */
function commonDtype(modules: readonly SummedModule[]): FloatDtype {
  const dtypes = new Set(
    modules.flatMap(({ terms }) =>
      terms.flatMap(({ module }) => tensorsOf(module.product).map(({ dtype }) => floatDtypeOf(dtype))),
    ),
  )
  const [only] = dtypes
  return dtypes.size === 1 && (only === 'bf16' || only === 'f16') ? only : 'f32'
}
