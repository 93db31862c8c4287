import { counted } from '../../text/quote.ts'
import type { TargetModule } from '../model.ts'
import type { AdapterPlan } from '../write/peft.ts'
import { stackedPaths } from './sglang.ts'
import { VLLM_LARGEST_RANK } from './vllm.ts'

/** Which loaders will not take an adapter, or will scale it wrongly: one sentence each. */
export function planWarnings(
  plan: Omit<AdapterPlan, 'warnings'>,
  base: ReadonlyMap<string, unknown>,
): string[] {
  const { r, modules, saved, targetModules, targetParameters } = plan
  const kinds = new Set(modules.map(({ module }) => module.kind))
  const warnings = [...patternWarnings(plan)]
  if (r > VLLM_LARGEST_RANK) {
    warnings.push(`vLLM takes no adapter of a rank above ${VLLM_LARGEST_RANK}, and this one has ${r}`)
  }
  if (saved.length > 0) {
    warnings.push(
      `${counted(saved.length, 'module')} written whole (modules_to_save): vLLM refuses such an adapter, llama.cpp one with a whole embedding or head`,
    )
  }
  if (kinds.has('embedding') && isTied(modules, base)) {
    warnings.push(
      'the base has no head of its own (it shares the embedding): the adapter changes only the lookup, not the head',
    )
  }
  if (kinds.has('conv1d') && kinds.has('linear')) {
    warnings.push(
      'layers stored [in, out] and [out, in] in one adapter: PEFT tells them apart by their class, other loaders by fan_in_fan_out, one flag for all',
    )
  }
  if (targetParameters.length > 0) {
    warnings.push(
      '3-D experts are read in different ways by releases of PEFT, vLLM and SGLang: check the outputs of the one you use',
    )
  }
  if (typeof targetModules === 'string') {
    warnings.push('target_modules is a regular expression, which SGLang refuses: no list of names is exact')
  }
  return warnings
}

/** What goes wrong where ranks differ and a loader doesn't read the patterns. Loaders that divide lora_alpha by r are right. */
export function patternWarnings({ r, modules, rankPattern }: Omit<AdapterPlan, 'warnings'>): string[] {
  if (rankPattern.size === 0) return []
  const least = modules.reduce((rank, { storedRank }) => Math.min(rank, storedRank), r)
  const warnings = [
    `llama.cpp and TensorRT-LLM divide lora_alpha ${r} by each tensor's own rank: ${counted(rankPattern.size, 'module')} too strong, by up to ${Number((r / least).toPrecision(3))}× (--layout portable avoids it)`,
  ]
  const stored = new Map(modules.map(({ module, storedRank }) => [module.path, storedRank]))
  const uneven = modules.find(({ module, storedRank }) =>
    stackedWith(module).some((path) => (stored.get(path) ?? storedRank) !== storedRank),
  )
  if (uneven !== undefined) {
    warnings.push('SGLang stacks q/k/v and gate/up and needs one rank in each group, which differ here')
  }
  return warnings
}

/** The paths of the linear modules that are stacked with this one, itself among them. */
export const stackedWith = ({ kind, path }: Pick<TargetModule, 'kind' | 'path'>): string[] =>
  kind === 'linear' ? stackedPaths(path) : []

/** A model whose embedding is adapted and that stores no head. */
function isTied(modules: AdapterPlan['modules'], base: ReadonlyMap<string, unknown>): boolean {
  const isToken = modules.some(
    ({ module }) => module.kind === 'embedding' && !/(^|[._])(wpe|position|token_type)/.test(module.path),
  )
  return (
    isToken &&
    ![...base.keys()].some((name) => /(^|\.)(lm_head|embed_out|output|score|classifier)\./.test(name))
  )
}
