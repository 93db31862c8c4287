import { counted } from '../../text/quote.ts'
import type { ModelTraits } from './model-traits.ts'
import { peftModule } from './module.ts'
import type { AdapterPlan, PeftModule } from './types.ts'

/** Layers that SGLang stacks into one: a missing member is an error there (sglang #25913, #28199). */
export const STACKED_GROUPS = [
  ['q_proj', 'k_proj', 'v_proj'],
  ['gate_proj', 'up_proj'],
] as const

/** The modules stacked with this one, itself among them, as paths; nothing where it stands alone. */
export function stackedWith({ kind, path }: PeftModule): string[] {
  if (kind !== 'linear') return []
  const at = path.lastIndexOf('.') + 1
  const group = STACKED_GROUPS.find((names) => (names as readonly string[]).includes(path.slice(at)))
  return (group ?? []).map((name) => `${path.slice(0, at)}${name}`)
}

/**
 * The modules of the base that are missing from the stacked groups of `modules`: to be written with zeros, and zeros on
 * both sides, for nothing that isn't zero belongs there. `taken` are the paths that are written otherwise.
 */
export function completeGroups(
  modules: readonly PeftModule[],
  base: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  traits: ModelTraits,
  taken: ReadonlySet<string> = new Set(),
): PeftModule[] {
  const paths = new Set([...modules.map(({ path }) => path), ...taken])
  const missing: PeftModule[] = []
  for (const module of modules) {
    for (const path of stackedWith(module)) {
      if (paths.has(path)) continue
      const name = path.slice(path.lastIndexOf('.') + 1)
      const tensor = module.tensor.replace(/[^.]+\.weight$/, `${name}.weight`)
      const stored = base.get(tensor)
      if (stored?.shape.length !== 2) continue
      const sibling = peftModule(tensor, 'matrix', stored.shape, traits)
      if ('reason' in sibling) continue
      paths.add(path)
      missing.push(sibling)
    }
  }
  return missing
}

/** The ranks that vLLM's --max-lora-rank takes. */
export const VLLM_RANKS = [1, 8, 16, 32, 64, 128, 256, 320, 512] as const

/** Which loaders will not take an adapter, or will scale it wrongly: one sentence each. */
export function loaderWarnings(
  plan: Omit<AdapterPlan, 'warnings'>,
  base: ReadonlyMap<string, unknown>,
): string[] {
  const { r, modules, saved, targetModules, targetParameters } = plan
  const kinds = new Set(modules.map(({ module }) => module.kind))
  const warnings = [...patternWarnings(plan)]
  if (r > VLLM_RANKS[VLLM_RANKS.length - 1]) {
    warnings.push(`vLLM takes no adapter of a rank above 512, and this one has ${r}`)
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
