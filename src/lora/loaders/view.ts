import { addTo } from '../../text/compare.ts'
import { familyOfNames } from '../families/of-names.ts'
import { type Adapter, type AdapterModule, blamed } from '../model.ts'
import type { AdapterView, Component, JudgedAdapter, ModelView, ModuleView } from './types.ts'

/** What stands beside an adapter's tensors and modules. */
export interface Surroundings {
  /** There is a config beside the tensors, whether it could be read or not. */
  readonly hasConfig?: boolean
  readonly metadata?: ReadonlyMap<string, string>
  readonly model?: ModelView
}

/** An adapter that was read, as loaders see it. */
export const viewOf = (
  { format, config, mlx, modules, replaced, ignored }: Adapter,
  { metadata, model, hasConfig = false }: Surroundings = {},
): AdapterView => ({
  format,
  ...(config !== undefined ? { config } : hasConfig && { hasBrokenConfig: true }),
  ...(mlx !== undefined && { mlx }),
  modules: modules.map(moduleView),
  whole: replaced.map(({ tensor, name, how, rows }) => ({
    ...{ name: tensor.name, target: name, how, isRows: rows !== undefined },
  })),
  ignored,
  ...(metadata !== undefined && { metadata }),
  ...(model !== undefined && { model }),
})

/** A module that was read, as loaders see it. */
export function moduleView(module: AdapterModule): ModuleView {
  const { label, prefix, path, kind, product, productShape, kernel, rank, dim, scale } = module
  const { storedAlpha, bias, magnitude } = module
  return {
    ...{ label, prefix, path, kind, productShape, kernel, rank, dim, scale },
    down: blamed(module, 'A').name,
    // experts that are stored one by one are LoRA each
    method: product.kind === 'stack' ? 'lora' : product.kind,
    ...(storedAlpha !== undefined && { storedAlpha }),
    ...(bias !== undefined && { bias: bias.name }),
    ...(magnitude !== undefined && { magnitude: { name: magnitude.name, shape: magnitude.shape } }),
  }
}

/**
 * The layers of language models. ComfyUI knows them as parts of text encoders alone; families of diffusion models whose blocks are
 * called `layers` have their own prefix before it.
 */
export const LANGUAGE_MODEL =
  /^(?:model\.(?:language_model\.)?layers|language_model\.model\.layers|transformer\.h|gpt_neox\.layers)\.\d/
/** The same of bodies that are saved alone. */
const BODY = /^(?:h|layers)\.\d+\.(?:attn|mlp|self_attn|block_sparse_moe)\./

/** An adapter with what follows of its names and numbers, found once for all loaders. */
export function judged(view: AdapterView): JudgedAdapter {
  const { modules, whole, ignored, config } = view
  const { naming, family: named } = familyOfNames(view.format, modules)
  const family = naming === undefined ? undefined : (view.model?.family ?? named)
  return {
    ...view,
    byPath: new Map(modules.map((module) => [module.path, module])),
    strangers: [
      ...whole.map(({ name }) => name),
      ...ignored.map(({ name }) => name).filter((name) => !name.endsWith('.base_layer.weight')),
      ...modules.flatMap(({ label, storedAlpha }) => (storedAlpha === undefined ? [] : [`${label}.alpha`])),
    ],
    ...(family !== undefined && { family }),
    ...(naming !== undefined && { naming }),
    isLanguageModel:
      view.format === 'gguf' ||
      view.format === 'mlx' ||
      config?.taskType === 'CAUSAL_LM' ||
      (view.format === 'peft' && modules.some(({ path }) => LANGUAGE_MODEL.test(path) || BODY.test(path))),
    components: componentsOf(modules),
  }
}

function componentsOf(modules: readonly ModuleView[]): Map<string, Component> {
  const byPrefix = new Map<string, ModuleView[]>()
  for (const module of modules) addTo(byPrefix, module.prefix, module)
  return new Map(
    [...byPrefix].map(([prefix, those]): [string, Component] => {
      const counts = new Map<number, number>()
      for (const { storedAlpha } of those)
        if (storedAlpha !== undefined) counts.set(storedAlpha, (counts.get(storedAlpha) ?? 0) + 1)
      const [common, next] = [...counts].sort(([, a], [, b]) => b - a)
      return [
        prefix,
        {
          ...(common !== undefined && { commonAlpha: common[0] }),
          isTied: next !== undefined && next[1] === common[1],
        },
      ]
    }),
  )
}
