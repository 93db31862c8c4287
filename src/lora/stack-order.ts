import type { ModelTraits } from './traits.ts'

/** The first version of PEFT that takes the two dimensions of an expert as its module says. */
const BY_THE_MODULE = [0, 19, 1]
/** The one before it, of two days, which has that the other way round. */
const CONTRARY = '0.19.0'

/** Whether this version of PEFT, the one that wrote a config, takes stacks otherwise than later ones do; not known without one. */
export function isBeforeModuleOrder(version: string | undefined): boolean {
  if (version === undefined) return false
  if (version.startsWith(CONTRARY)) return true
  const numbers = version.split(/[.@+]/).slice(0, BY_THE_MODULE.length).map(Number)
  const at = numbers.findIndex((n, i) => n !== BY_THE_MODULE[i])
  return at >= 0 && numbers[at] < BY_THE_MODULE[at]
}

/**
 * Whether PEFT takes the second dimension of a stack [experts, ·, ·] for the input, as it does of [experts, in, out]: A is then of as many
 * columns. Up to 0.18 it is so of all stacks, later of those whose module says `is_transposed` (huggingface/peft: tuners/lora/layer.py,
 * ParamWrapper, at v0.18.1, v0.19.0 and v0.19.1). `version` is a config's `peft_version`, which 0.18.0 was the first to write.
 */
export function takesSecondAsInput(
  version: string | undefined,
  { expertsInOut }: Pick<ModelTraits, 'expertsInOut'>,
): boolean {
  if (version === undefined) return expertsInOut
  if (version.startsWith(CONTRARY)) return !expertsInOut
  return isBeforeModuleOrder(version) ? true : expertsInOut
}
