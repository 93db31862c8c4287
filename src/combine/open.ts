import { bringNear } from '../checkpoint/near.ts'
import { openCheckpoint } from '../checkpoint/open.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import type { RunContext } from '../jobs/context.ts'
import type { Adapter, JsonObject } from '../lora/model.ts'
import { assertBeganWith, refuseActivated, refuseOtherBases } from '../lora/other-sums.ts'
import { adapterOf } from '../lora/read/adapter.ts'
import type { AlphaZero } from '../lora/read/alpha.ts'
import { refuseGgufBase } from '../lora/read/gguf-base.ts'
import { quoted } from '../text/quote.ts'
import type { Summand } from './modules.ts'

export interface SummandRequest {
  readonly path: string
  readonly weight: number
}

export interface OpenSumOptions {
  /** For modules whose alpha neither a config nor the file tells. */
  readonly alpha?: number | undefined
  /** What an alpha of 0 means: refused where this is left out. */
  readonly alphaZero?: AlphaZero | undefined
  /** What the training of an adapter that changed its base (PiSSA, OLoRA …) began with: the adapter that was saved before. */
  readonly init?: string | undefined
  readonly base?: string | undefined
  /** config.json of the base, where that is open already. */
  readonly config?: JsonObject | undefined
}

/**
 * Opens adapters that are to be summed, and the base that tells what their names mean; `inputs` are
 * all that was opened. Throws `bad-input` for what is no adapter, and for
 * adapters whose factors mean something else: those that belong to a changed base whose beginning isn't given, and those that act on
 * some tokens alone.
 */
export async function openSummands(
  requests: readonly SummandRequest[],
  { alpha, alphaZero, init, base, config }: OpenSumOptions,
  { opening }: RunContext,
): Promise<{ summands: Summand[]; base: Checkpoint | undefined; inputs: Checkpoint[] }> {
  const model = base === undefined ? undefined : await openCheckpoint(base, opening)
  const open = async (path: string) => {
    const checkpoint = await openCheckpoint(path, opening)
    const adapter = await adapterOf(checkpoint, {
      alpha,
      alphaZero,
      model: model?.config ?? config,
      isStrict: true,
    })
    if (adapter !== undefined) {
      await bringNear(checkpoint.tensors.values())
      return { checkpoint, adapter }
    }
    throw badInput(`${path}: is no adapter: none of its tensors is a LoRA factor`, { file: path })
  }
  const began = init === undefined ? undefined : await open(init)
  const initial = began?.adapter
  const summands: Summand[] = []
  for (const { path, weight } of requests) {
    const { checkpoint, adapter } = await open(path)
    const isMutating = adapter.config?.mutatesBase !== undefined
    if (!isMutating || initial === undefined) refuseOtherBases(adapter, 'give what it began with by --init')
    else assertBeganWith(adapter, initial)
    summands.push({ checkpoint, adapter, weight, ...(isMutating && initial !== undefined && { initial }) })
  }
  if (initial !== undefined) refuseWrongInit(summands, initial)
  if (model !== undefined) for (const { adapter } of summands) refuseGgufBase(model, adapter)
  const others = [began?.checkpoint, model].filter((one) => one !== undefined)
  return { summands, base: model, inputs: [...summands.map(({ checkpoint }) => checkpoint), ...others] }
}

/** One beginning is of one adapter. */
function refuseWrongInit(summands: readonly Summand[], initial: Adapter): void {
  const mutating = summands.filter((one) => one.initial !== undefined)
  if (mutating.length === 1) return
  throw badInput(
    mutating.length === 0
      ? `${initial.path}: --init is for an adapter whose training changed its base, and none of these is one`
      : `${initial.path}: is what one adapter began with, and ${mutating.length} of these changed their base; convert the others first`,
    { file: initial.path },
  )
}

/**
 * Throws `bad-input` for adapters of which no sum is one: DoRA, whose change is no multiple of a product, and activated LoRA. One alone,
 * with the weight 1, can still be of another rank.
 */
export function refuseWhatAddsNothingUp(summands: readonly Summand[]): void {
  const isAlone = summands.length === 1 && summands[0].weight === 1
  for (const { adapter } of summands) {
    const dora = adapter.modules.find(({ magnitude }) => magnitude !== undefined)
    if (dora !== undefined && !isAlone) {
      throw badInput(
        `${adapter.path}: the module ${quoted(dora.label)} is DoRA, whose change is more than scale·B·A, so that sums of it are no adapter; apply each to the base, and extract what comes of it`,
        { file: adapter.path },
      )
    }
    if (!isAlone) refuseActivated(adapter)
  }
}
