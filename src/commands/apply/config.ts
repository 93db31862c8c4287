import { TEXT_PARTS } from '../../checkpoint/correspondence.ts'
import type { JsonEdits } from '../../text/edit-json.ts'
import type { WrittenDtype } from './options.ts'
import type { ApplyPlan } from './plan.ts'

export const CONFIG_FILE = 'config.json'

/** What torch calls the types. */
const TORCH: Readonly<Record<Exclude<WrittenDtype, 'as-base'>, string>> = {
  f32: 'float32',
  bf16: 'bfloat16',
  f16: 'float16',
}

/**
 * What config.json has to say otherwise of the merged checkpoint; undefined where nothing. A setting is changed where it stands, in
 * the part that speaks of the text too; the head's tie is said at the top in any case.
 */
export function configEdits(
  { base: { config }, untied, vocabulary }: Pick<ApplyPlan, 'base' | 'untied' | 'vocabulary'>,
  dtype: WrittenDtype,
): JsonEdits | undefined {
  if (config === undefined) return undefined
  const parts = TEXT_PARTS.filter((part) => isObject(config[part]))
  const settings: Record<string, unknown> = {
    ...(untied !== undefined && { tie_word_embeddings: false }),
    ...(vocabulary !== undefined && { vocab_size: vocabulary }),
    ...(dtype !== 'as-base' && { torch_dtype: TORCH[dtype], dtype: TORCH[dtype] }),
  }
  const thereIn = (part: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(settings).filter(([key]) => Object.hasOwn(part, key)))
  const isTyped = Object.hasOwn(config, 'torch_dtype') || Object.hasOwn(config, 'dtype')
  const set = {
    ...thereIn(config),
    ...(untied !== undefined && { tie_word_embeddings: false }),
    ...(dtype !== 'as-base' && !isTyped && { torch_dtype: TORCH[dtype] }),
  }
  const within = Object.fromEntries(
    parts.flatMap((part) => {
      const own = thereIn(config[part] as Record<string, unknown>)
      return Object.keys(own).length === 0 ? [] : [[part, { set: own }]]
    }),
  )
  return Object.keys(set).length + Object.keys(within).length === 0 ? undefined : { set, within }
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value)
