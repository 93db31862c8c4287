import { ADAPTER_CONFIG_FILE, ADAPTER_FILE } from '../checkpoint/folder.ts'
import { storedOrder } from '../compress/sum.ts'
import { badUsage } from '../errors.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { safetensorsDtypeOf } from '../formats/safetensors-dtype.ts'
import { layoutSafetensors, type TensorToWrite } from '../formats/safetensors-writer.ts'
import type { RankLimits } from '../linalg/spectrum/rules.ts'
import { blamed, elementsPerRank, type TargetModule } from '../lora/model.ts'
import { parseName } from '../lora/names.ts'
import { type AdapterLayout, factorNames, factorShapes } from '../lora/write/peft.ts'
import { CARD_FILE, sumCard } from './card.ts'
import { sumConfig } from './config.ts'
import { keptData } from './kept.ts'
import { sumMetadata } from './metadata.ts'
import type { CombinePlan, SummedModule } from './plan.ts'
import { parameterOf } from './spelling.ts'

/** A module as it will be written. */
export interface WrittenModule {
  readonly summed: SummedModule
  /** The largest rank of its matrices. */
  readonly rank: number
  /** The rank of the stored factors, padded with zeros. */
  readonly storedRank: number
  readonly names: { readonly A: string; readonly B: string; readonly alpha?: string }
}

/** All that is settled of the result's files once the ranks are: nothing of it depends on the factors' values. */
export interface OutputPlan {
  readonly plan: CombinePlan
  readonly layout: AdapterLayout
  /** The largest stored rank, by which PEFT's alpha is divided. */
  readonly r: number
  readonly modules: readonly WrittenModule[]
  readonly named: SumBase
  readonly metadata: Readonly<Record<string, string>>
  /** The files beside the tensors, as text: none where the result is one file. */
  readonly texts: ReadonlyMap<string, string>
}

/** The bytes of factors of a module, when their turn comes. */
export type EncodedOf = (
  written: WrittenModule,
) => Promise<{ readonly A: Uint8Array; readonly B: Uint8Array }>

/** What the result calls its base. */
export interface SumBase {
  /** As the user says. */
  readonly given?: string | undefined
  /** As the base itself tells, where it is at hand. */
  readonly found?: string | undefined
}

export interface OutputOptions {
  readonly named?: SumBase | undefined
  readonly layout: AdapterLayout
  /** Of which `multipleOf` may make a stored rank more than the directions that there are. */
  readonly limits: RankLimits
  /** The command that makes it, for the card. */
  readonly command: string
}

/** The result's files at these ranks, one for each layer of the plan. */
export function planOutput(plan: CombinePlan, ranks: readonly number[], options: OutputOptions): OutputPlan {
  const { layout, command, limits, named = {} } = options
  const ofModules = new Map<SummedModule['module'], number>()
  for (const [i, { module }] of plan.layers.entries()) {
    ofModules.set(module, Math.max(ranks[i], ofModules.get(module) ?? 0))
  }
  // a pair has a rank of at least 1, be it of zeros
  const own = (module: SummedModule['module']) =>
    Math.max(1, storedOrder(ofModules.get(module)!, module, limits))
  const r = Math.max(1, ...plan.modules.map(({ module }) => own(module)))
  const names = namesOf(plan)
  const modules = plan.modules.map((summed, i): WrittenModule => {
    const rank = ofModules.get(summed.module)!
    return { summed, rank, storedRank: layout === 'portable' ? r : own(summed.module), names: names[i] }
  })
  const settled = { plan, layout, r, modules, named }
  const metadata = sumMetadata(settled)
  if (plan.format !== 'peft' && named.given !== undefined) {
    throw badUsage(
      `--base-name: a file in the names of ${plan.format} has no place for it, which a PEFT folder has; leave it out`,
    )
  }
  if (plan.format !== 'peft') return { ...settled, metadata, texts: new Map() }
  const texts = [
    [ADAPTER_CONFIG_FILE, sumConfig(settled)],
    [CARD_FILE, sumCard(settled, command)],
  ] as const
  return { ...settled, metadata, texts: new Map(texts) }
}

/** The tensors' names: PEFT's own, or those of the file that the module comes from. */
function namesOf({ format, modules }: CombinePlan): WrittenModule['names'][] {
  if (format === 'peft') {
    // of experts PEFT's names tell by their nesting which parameter is meant; of one that nothing names they stay as they are
    const targets = modules.map(({ module }): TargetModule => {
      if (module.kind !== 'experts') return module
      const path = parameterOf(module)
      return path === undefined ? { ...module, kind: 'linear' } : { ...module, path }
    })
    const names = factorNames(targets)
    return targets.map((target) => names.get(target)!)
  }
  return modules.map(({ module, like }) => {
    const stem = module.prefix + module.path
    const [A, B] = endingsOf(blamed(like, 'A').name)
    // without one the scale is 1 already; beside a config in the metadata diffusers takes none
    const hasAlpha = like.storedAlpha !== undefined || like.product.kind !== 'lora'
    return { A: stem + A, B: stem + B, ...(hasAlpha && { alpha: `${stem}.alpha` }) }
  })
}

/** How the names of two factors end, by that of the one they come from: of what is no LoRA as kohya's do. */
function endingsOf(name: string): readonly [A: string, B: string] {
  const stem = parseName(name)?.stem ?? name
  const ending = name.slice(stem.length)
  if (/lora_A\./.test(ending)) return ['.lora_A.weight', '.lora_B.weight']
  if (ending === '.lora_A') return ['.lora_A', '.lora_B']
  if (/down\.weight$/.test(ending)) return [ending, ending.replace(/down(?=\.weight$)/, 'up')]
  return ['.lora_down.weight', '.lora_up.weight']
}

/** The tensors of the file. Without `encoded` they have no data, which is enough for a layout. */
export function tensorsOf(output: OutputPlan, dtype: FloatDtype, encoded?: EncodedOf): TensorToWrite[] {
  const none = new Uint8Array(0)
  const factors = output.modules.flatMap((written): TensorToWrite[] => {
    const { names, storedRank, summed } = written
    const shapes = factorShapes(summed.module, storedRank)
    const side = (side: 'A' | 'B'): TensorToWrite => ({
      name: names[side],
      dtype: safetensorsDtypeOf(dtype),
      shape: shapes[side],
      data: encoded === undefined ? none : async () => (await encoded(written))[side],
    })
    if (names.alpha === undefined) return [side('A'), side('B')]
    // the scale lies in the factors: alpha is the rank
    const alpha = { name: names.alpha, dtype: 'F32', shape: [], data: Float64Array.of(storedRank) } as const
    return [side('A'), side('B'), alpha]
  })
  const kept = output.plan.kept.map(
    (one): TensorToWrite => ({
      name: one.name,
      dtype: one.dtype,
      shape: one.shape,
      data: encoded === undefined ? none : () => keptData(one),
    }),
  )
  return [...factors, ...kept]
}

/** The exact bytes of the result before anything is computed. */
export function outputBytes(output: OutputPlan): number {
  const { byteLength } = layoutSafetensors(tensorsOf(output, output.plan.dtype), output.metadata)
  return [...output.texts.values()].reduce(
    (sum, text) => sum + new TextEncoder().encode(text).length,
    byteLength,
  )
}

/** Entries of the factors as stored. */
export const outputParameters = ({ modules }: OutputPlan): number =>
  modules.reduce((sum, { summed, storedRank }) => sum + elementsPerRank(summed.module) * storedRank, 0)

/** The name of the file that holds the tensors, within a folder; the result itself where it is one file. */
export const TENSOR_FILE = ADAPTER_FILE
