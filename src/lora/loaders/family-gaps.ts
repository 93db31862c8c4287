import { incompleteBlocks } from '../families/complete.ts'
import { FAMILIES } from '../families/layout.ts'
import { gapsOf } from '../families/modules.ts'
import { encoderGaps } from '../families/text-encoder-gaps.ts'
import type {
  Completeness,
  Loader as DiffusionLoader,
  Encoder,
  Family,
  Gap,
  Naming,
} from '../families/types.ts'
import { datedSource } from './common.ts'
import type { Effect, Fact, LoaderRule, ModuleView } from './types.ts'

/** What the families of diffusion models say of their loaders, as rules: one of each family, naming and effect. */

const EFFECTS: Readonly<Record<Gap['effect'], Effect>> = {
  dropped: 'passes over',
  refused: 'refuses',
  wrong: 'misreads',
}
const DOES: Readonly<Record<Effect, string>> = {
  'passes over': 'passes over modules',
  refuses: 'refuses files with modules',
  misreads: 'misreads modules',
  scales: 'scales modules otherwise',
  warns: 'may not load modules',
}

/** A source as families write it: `diffusers: loaders/lora_pipeline.py @2026-08-23`. */
function sourceOf(text: string): Pick<Fact, 'source' | 'date'> {
  const { source, date } = datedSource(text)
  return { source: withOwner(source), date }
}

/** The owners of the repositories that families name without. */
const OWNERS: Readonly<Record<string, string>> = {
  ComfyUI: 'Comfy-Org/ComfyUI',
  diffusers: 'huggingface/diffusers',
  'sd-scripts': 'kohya-ss/sd-scripts',
}
const withOwner = (source: string) => source.replace(/^[\w-]+(?=:)/, (name) => OWNERS[name] ?? name)

/** The rules of a loader for all families that it knows. */
export const familyRules = (loader: DiffusionLoader): LoaderRule[] => [
  ...FAMILIES.filter(({ loaders }) => loaders.includes(loader)).flatMap((family) => ofFamily(family, loader)),
  ...(['dropped', 'refused'] as const).map((effect) => ofEncoders(loader, effect)),
]

function ofFamily(family: Family, loader: DiffusionLoader): LoaderRule[] {
  const groups = new Map<string, Gap[]>()
  for (const gap of family.gaps) {
    if (gap.loader !== loader) continue
    const key = `${gap.naming} ${gap.effect}`
    groups.set(key, [...(groups.get(key) ?? []), gap])
  }
  const gaps = [...groups.values()].map(([gap]): LoaderRule => {
    const effect = EFFECTS[gap.effect]
    const { naming } = gap
    return {
      ...{ rule: `${loader.toLowerCase()}-${family.id}-${naming}-${gap.effect}`, loader, effect },
      text: `${loader} ${DOES[effect]} of ${family.name} under ${naming}’s names`,
      ...sourceOf(gap.source),
      ofModule: (module, adapter) => {
        if (adapter.family !== family || adapter.naming !== naming || isOfEncoder(module)) return undefined
        const found = gapsAt(family, naming, module).find(
          (one) => one.loader === loader && one.effect === gap.effect,
        )
        return found && asReason(found)
      },
    }
  })
  return [...gaps, ...incompleteRules(family, loader)]
}

const asReason = ({ loader, reason }: Gap) => reason.replace(new RegExp(`^${loader} `), 'it ')

/** The gaps of a module by its path as it is spelled: kohya's have underscores for dots. */
const gapsAt = (family: Family, naming: Naming, { path, down }: ModuleView): Gap[] =>
  gapsOf(naming === 'kohya' ? flattened(family) : family, naming, path, spellingOf(down))

const spellingOf = (down: string) => (/\.lora_A(?:\.|$)/.test(down) ? '.lora_A.weight' : '.lora_down.weight')

/** A family whose patterns take an underscore for a dot. */
function flattened(family: Family): Family {
  const known = flat.get(family)
  if (known !== undefined) return known
  const gaps = family.gaps.map((gap) =>
    gap.paths === undefined
      ? gap
      : { ...gap, paths: new RegExp(gap.paths.source.replaceAll('\\.', '[._]'), gap.paths.flags) },
  )
  const made = { ...family, gaps }
  flat.set(family, made)
  return made
}
const flat = new WeakMap<Family, Family>()

function incompleteRules(family: Family, loader: DiffusionLoader): LoaderRule[] {
  const [first] = family.completeness.filter((rule) => rule.loader === loader)
  if (first === undefined) return []
  return [
    {
      ...{ rule: `${loader.toLowerCase()}-${family.id}-${first.naming}-incomplete`, loader },
      effect: 'refuses',
      text: `${loader} refuses files of ${family.name} under ${first.naming}’s names in which blocks lack some of their modules`,
      ...sourceOf(first.source),
      ofAdapter: (adapter) => {
        if (adapter.family !== family || adapter.naming !== first.naming) return undefined
        const paths = adapter.modules
          .filter((module) => !isOfEncoder(module))
          .map(({ path }) => (first.naming === 'kohya' ? dottedBlock(path, family.completeness) : path))
        const [incomplete] = incompleteBlocks(family, first.naming, paths).filter(
          ({ rule }) => rule.loader === loader,
        )
        return incomplete && `it needs all modules of a block, and there is no ${incomplete.missing[0]}`
      },
    },
  ]
}

/** A path of kohya's with its dots again, where it is of a module of these blocks. */
function dottedBlock(path: string, rules: readonly Completeness[]): string {
  for (const { blocks, modules } of rules) {
    for (const block of blocks) {
      const [, number, rest] = /^(\d+)_(.+)$/.exec(path.slice(block.length)) ?? []
      if (number === undefined || !path.startsWith(block.replaceAll('.', '_'))) continue
      const module = modules.find((one) => one.replaceAll('.', '_') === rest)
      if (module !== undefined) return `${block}${number}.${module}`
    }
  }
  return path
}

/** Of a text encoder. */
export const isOfEncoder = ({ prefix }: Pick<ModuleView, 'prefix'>) =>
  /^(?:lora_te\d?_|text_encoders?[._]|lora_prior_te_)|^text_encoder/.test(prefix)

function ofEncoders(loader: DiffusionLoader, effect: 'dropped' | 'refused'): LoaderRule {
  const does = EFFECTS[effect]
  return {
    ...{ rule: `${loader.toLowerCase()}-text-encoder-${effect}`, loader, effect: does },
    text: `${loader} ${DOES[does]} of text encoders under names, or of kinds, that it doesn’t read`,
    ...SOURCES[loader],
    ofModule: (module, { family, naming }) => {
      if (family === undefined || naming === undefined || !isOfEncoder(module)) return undefined
      const encoder = encoderOf(family, naming, module)
      if (encoder === undefined) return undefined
      const path = naming === 'kohya' ? dottedPath(module.path) : module.path
      const gap = encoderGaps(family, encoder, naming, path).find(
        (one) => one.loader === loader && one.effect === effect,
      )
      return gap && asReason(gap)
    },
  }
}

const SOURCES: Readonly<Record<DiffusionLoader, Pick<Fact, 'source' | 'date'>>> = {
  ComfyUI: { source: 'Comfy-Org/ComfyUI: comfy/lora.py, model_lora_keys_clip', date: '2025-10-12' },
  diffusers: {
    source: 'huggingface/diffusers: loaders/lora_pipeline.py, loaders/lora_conversion_utils.py',
    date: '2026-08-23',
  },
  kohya: { source: 'kohya-ss/sd-scripts: networks/lora.py', date: '2026-02-16' },
}

function encoderOf({ encoders }: Family, naming: Naming, { prefix, path }: ModuleView): Encoder | undefined {
  return encoders.find(({ id, kohya, aliases = [], component }) => {
    if (naming === 'kohya') return kohya === prefix || aliases.includes(prefix)
    return naming === 'comfyui' ? `${prefix}${path}`.includes(`.${id}.`) : prefix === `${component}.`
  })
}

/** Layers of text encoders with their dots again, of which kohya made underscores. */
const FLAT_LAYERS: readonly (readonly [RegExp, string])[] = [
  [/^text_model_encoder_layers_(\d+)_(self_attn|mlp)_(.+)$/, 'text_model.encoder.layers.$1.$2.$3'],
  [
    /^encoder_block_(\d+)_layer_(\d+)_(SelfAttention|DenseReluDense)_(.+)$/,
    'encoder.block.$1.layer.$2.$3.$4',
  ],
  [/^layers_(\d+)_(self_attn|mlp)_(.+)$/, 'layers.$1.$2.$3'],
]
function dottedPath(path: string): string {
  const known = FLAT_LAYERS.find(([pattern]) => pattern.test(path))
  return known === undefined ? path : path.replace(...known)
}
