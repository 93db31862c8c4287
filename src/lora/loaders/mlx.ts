import { addTo } from '../../text/compare.ts'
import { sourced } from './common.ts'
import type { JudgedAdapter, LoaderFacts, LoaderRule, ModuleView } from './types.ts'

const DATE = 'mid-2026'
const ofLoading = sourced('MLX', 'ml-explore/mlx-lm: mlx_lm/tuner/utils.py, load_adapters', DATE)
const ofLayers = sourced('MLX', 'ml-explore/mlx-lm: mlx_lm/tuner/utils.py, linear_to_lora_layers', DATE)

/** A module as MLX calls it: experts are one module. */
const nameOf = ({ down }: ModuleView) => down.replace(/\.lora_a(?:\[\d+\])?$/, '')
/** The blocks that a module is of, its block's number, and its name there. */
const BLOCK = /^(.+?\.)(\d+)\.(.+)$/
const isStack = (name: string) => /\.(?:switch_mlp|experts)\./.test(name)

/** How many blocks the model has by the prefix of their names; of the file alone it has at least so many. */
function blocksOf(adapter: JudgedAdapter): ReadonlyMap<string, number> {
  const known = counts.get(adapter)
  if (known !== undefined) return known
  const numbers = new Map<string, number[]>()
  for (const name of [...adapter.modules.map(nameOf), ...(adapter.model?.modules ?? [])]) {
    const [, prefix, number] = BLOCK.exec(name) ?? []
    if (prefix !== undefined) addTo(numbers, prefix, Number(number))
  }
  // a model's file may hold more, for predicting several tokens, which MLX leaves out
  const most = adapter.model?.blocks ?? Number.POSITIVE_INFINITY
  const found = new Map(
    [...numbers].map(([prefix, those]) => [
      prefix,
      Math.min(most, those.reduce((a, b) => Math.max(a, b), 0) + 1),
    ]),
  )
  counts.set(adapter, found)
  return found
}
const counts = new WeakMap<JudgedAdapter, ReadonlyMap<string, number>>()

/** MLX calls the modules of models of text alone as the Hub does; those of others it renames (mlx_lm/models, sanitize). */
function hasNamesOfHub(modules: ReadonlySet<string>): boolean {
  const known = ofText.get(modules)
  if (known !== undefined) return known
  const names = [...modules]
  const found =
    names.some((name) => name.startsWith('model.layers.0.')) &&
    !names.some((name) => OF_OTHER_PARTS.test(name))
  ofText.set(modules, found)
  return found
}
const ofText = new WeakMap<ReadonlySet<string>, boolean>()
const OF_OTHER_PARTS = /^(?!(?:model\.)?(?:layers\.|embed_tokens$|norm$|lm_head$))/

/** Why MLX makes no LoRA layer of a module, which `num_layers` and `keys` say. */
function notInLastBlocks(module: ModuleView, adapter: JudgedAdapter): string | undefined {
  const { numLayers = 0, keys } = adapter.mlx ?? {}
  const name = nameOf(module)
  const [, prefix, number] = BLOCK.exec(name) ?? []
  if (prefix === undefined || numLayers < 1 || keys?.includes(name)) return undefined
  return Number(number) < blocksOf(adapter).get(prefix)! - numLayers
    ? `it makes LoRA layers in the last ${numLayers === 1 ? 'block' : `${numLayers} blocks`} alone (num_layers)`
    : undefined
}

function notInKeys(module: ModuleView, { mlx }: JudgedAdapter): string | undefined {
  if (mlx === undefined) return undefined
  const name = nameOf(module)
  const inBlock = BLOCK.exec(name)?.[3]
  if (mlx.keys === undefined) {
    return inBlock === undefined
      ? `without lora_parameters.keys it makes LoRA layers in blocks alone, and ${name} is in none`
      : undefined
  }
  return mlx.keys.includes(name) || (inBlock !== undefined && mlx.keys.includes(inBlock))
    ? undefined
    : `it makes LoRA layers of what lora_parameters.keys names alone, and ${inBlock ?? name} is not there`
}

const RULES: readonly LoaderRule[] = [
  {
    ...ofLoading({
      rule: 'mlx-other-format',
      effect: 'refuses',
      text: 'MLX reads adapters.safetensors with a config of its own, and no other format',
    }),
    ofAdapter: ({ format }) =>
      format === 'mlx' ? undefined : 'it reads adapters.safetensors with its own config',
    isFinal: true,
  },
  {
    ...ofLoading({
      rule: 'mlx-names',
      effect: 'passes over',
      text: 'MLX loads factors by their whole names, sees through no prefix, and passes over names that the model lacks',
    }),
    ofModule: (module, { model }) => {
      const name = nameOf(module)
      return model?.modules === undefined ||
        !hasNamesOfHub(model.modules) ||
        model.modules.has(name) ||
        isStack(name)
        ? undefined
        : `the model has no ${name}, and it sees through no prefix`
    },
  },
  {
    ...ofLayers({
      rule: 'mlx-num-layers',
      effect: 'passes over',
      text: 'MLX makes LoRA layers in the last num_layers blocks alone, and passes over factors of others',
    }),
    ofModule: notInLastBlocks,
  },
  {
    ...ofLayers({
      rule: 'mlx-keys',
      effect: 'passes over',
      text: 'MLX makes LoRA layers of the modules that lora_parameters.keys names, and passes over factors of others',
    }),
    ofModule: notInKeys,
  },
]

export const MLX: LoaderFacts = {
  rules: RULES,
  scale: {
    ...sourced(
      'MLX',
      'ml-explore/mlx-lm: mlx_lm/tuner/lora.py',
      DATE,
    )({
      rule: 'mlx-scale',
      effect: 'scales',
      text: 'MLX scales all modules by the scale of its config',
    }),
    scaleOf: ({ scale }) => scale,
  },
}
