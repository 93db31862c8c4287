import { plainName } from '../checkpoint/correspondence.ts'
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { addTo } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { type Adapter, type AdapterModule, type ModuleKind, type ReplacedTensor, tensorsOf } from './model.ts'
import { PEFT_PREFIX } from './names.ts'
import { loraScale } from './read/peft-config.ts'
import { type ModelTraits, modelTraits } from './traits.ts'

export interface MatchedModule {
  /** With the base tensor's name, and the kind and shape that this settles. */
  readonly module: AdapterModule
  readonly base: StoredTensor
}

export interface UnmatchedModule {
  readonly module: AdapterModule
  readonly reason: string
}

export interface BaseMatch {
  readonly matched: readonly MatchedModule[]
  readonly unmatched: readonly UnmatchedModule[]
  /** Whole tensors with the base tensor's name, where there is one. */
  readonly replaced: readonly { readonly replaced: ReplacedTensor; readonly base?: StoredTensor }[]
  readonly warnings: readonly string[]
}

/** Names listed at most where several tensors may be meant. */
const LISTED_NAMES = 3

/**
 * The base tensor that each module applies to, and what its shape says of the module's kind. A module whose name fits no
 * tensor of the base, or several, is listed with the reason. `traits` are those of the base, by its own config.json where
 * nothing better is known. Throws `bad-input` naming both tensors where shapes don't fit.
 */
export function matchToBase(
  adapter: Adapter,
  base: Checkpoint,
  traits: ModelTraits = modelTraits(base.config, base.tensors),
): BaseMatch {
  const find = unwrapped(baseIndex(base, adapter.format === 'kohya'), base)
  const stacks = stacksByOwner(base)
  const hasConfig = adapter.config !== undefined
  const matched: MatchedModule[] = []
  const unmatched: UnmatchedModule[] = []
  for (const module of adapter.modules) {
    const names = find(module.tensor, module.prefix)
    if (names.length > 1) {
      unmatched.push({ module, reason: ambiguity(names) })
      continue
    }
    const named = base.tensors.get(names[0])
    const isStackOf = (tensor: StoredTensor) => asStack(module, tensor, hasConfig, traits) !== undefined
    if (named !== undefined && (module.kind !== 'experts' || isStackOf(named))) {
      matched.push(settle(adapter, traits, module, named))
      continue
    }
    const found = matchStack(adapter, module, stacks, traits)
    if ('base' in found) matched.push(found)
    else if (named !== undefined) throw misfit(adapter, module, named)
    else unmatched.push(found)
  }
  const [single, shared] = separateShared(matched)
  const transposed = single.filter(({ module }) => module.kind === 'conv1d')
  const warnings =
    adapter.config?.fanInFanOut === false && transposed.length > 0
      ? [
          `fan_in_fan_out is false, but the base stores ${quoted(transposed[0].base.name)} as [in, out] (${transposed.length} such): taken as PEFT does, transposed`,
        ]
      : []
  return {
    matched: single,
    unmatched: [...unmatched, ...shared],
    replaced: adapter.replaced.map((replaced) => matchReplaced(replaced, base, find)),
    warnings,
  }
}

/** As an index finds names, and where it finds none without the parts that wrappers put into either side's. */
function unwrapped(find: BaseIndex, base: Checkpoint): BaseIndex {
  let plain: Map<string, string[]> | undefined
  const plainNames = () => {
    if (plain === undefined) {
      plain = new Map()
      for (const name of base.tensors.keys()) addTo(plain, plainName(name), name)
    }
    return plain
  }
  return (name, prefix) => {
    const names = find(name, prefix)
    if (names.length > 0) return names
    const bare = plainName(name)
    const others = bare === name ? [] : find(bare, prefix)
    return others.length > 0 ? others : (plainNames().get(bare) ?? [])
  }
}

const ambiguity = (names: readonly string[]) =>
  `may be any of ${names.slice(0, LISTED_NAMES).map(quoted).join(', ')}${names.length > LISTED_NAMES ? ', …' : ''}`

/** Two modules for one base tensor: which is meant can't be told. */
function separateShared(matched: readonly MatchedModule[]): [MatchedModule[], UnmatchedModule[]] {
  const byBase = new Map<string, MatchedModule[]>()
  for (const match of matched) addTo(byBase, match.base.name, match)
  const isSingle = ({ base }: MatchedModule) => byBase.get(base.name)!.length === 1
  const shared = matched
    .filter((match) => !isSingle(match))
    .map(({ module, base }) => ({
      module,
      reason: `applies to ${quoted(base.name)}, and so does another module of the adapter`,
    }))
  return [matched.filter(isSingle), shared]
}

function matchReplaced(replaced: ReplacedTensor, base: Checkpoint, find: BaseIndex) {
  const ofModule = find(replaced.name, replaced.prefix)
  // ComfyUI's `X.diff` may be of a parameter X that is no module's (comfy/lora.py)
  const names = ofModule.length > 0 ? ofModule : find(replaced.name.replace(/\.weight$/, ''), replaced.prefix)
  if (names.length !== 1) return { replaced }
  return { replaced: { ...replaced, name: names[0] }, base: base.tensors.get(names[0])! }
}

function settle(
  adapter: Adapter,
  traits: ModelTraits,
  module: AdapterModule,
  tensor: StoredTensor,
): MatchedModule {
  if (tensor.shape.length === 3 && (module.kind === 'experts' || mayBeStack(module))) {
    const stack = asStack(module, tensor, adapter.config !== undefined, traits)
    if (stack !== undefined) return stack
  }
  const kind = settledKind(adapter, traits, module, tensor)
  if (kind === undefined) throw misfit(adapter, module, tensor)
  const { name, shape } = tensor
  const form = {
    tensor: name,
    kind,
    shape,
    rows: shape[0],
    columns: shape.slice(1).reduce((product, n) => product * n, 1),
    isTransposed: kind === 'embedding' || kind === 'conv1d',
  }
  return { module: { ...module, ...form }, base: tensor }
}

function settledKind(
  adapter: Adapter,
  traits: ModelTraits,
  module: AdapterModule,
  { name, shape }: StoredTensor,
): ModuleKind | undefined {
  const [out, columns] = module.productShape
  const width = shape.slice(1).reduce((product, n) => product * n, 1)
  const isPlain = shape[0] === out && width === columns
  const isTransposed = shape.length === 2 && shape[0] === columns && shape[1] === out
  switch (module.kind) {
    case 'embedding':
      return isTransposed ? 'embedding' : undefined
    case 'convolution':
      return isPlain && isSameKernel(module, shape) ? 'convolution' : undefined
    case 'experts':
      return undefined
    default: {
      if (isPlain && shape.length > 2) return 'convolution'
      if (!isPlain || !isTransposed) return isPlain ? 'linear' : isTransposed ? 'conv1d' : undefined
      // PEFT goes by the class; fan_in_fan_out is one flag for all, which tells where nothing else does
      const isConv1d = traits.isConv1d(name.replace(/\.weight$/, '')) ?? adapter.config?.fanInFanOut
      return isConv1d ? 'conv1d' : 'linear'
    }
  }
}

/** Factors stored flat may be one pair for each expert of a stack. */
const mayBeStack = ({ product }: AdapterModule) =>
  product.kind === 'lora' && product.A.shape.length === 2 && !product.isTurned

/** Factors stored flat fit any kernel of as many entries; others have to have the base's. */
function isSameKernel({ kernel }: AdapterModule, shape: readonly number[]): boolean {
  return shape.length === 2 ? kernel.every((n) => n === 1) : kernel.join() === shape.slice(2).join()
}

function misfit(adapter: Adapter, module: AdapterModule, tensor: StoredTensor) {
  const tensors = tensorsOf(module.product)
  const named = tensors.map(({ name, shape }) => `${quoted(name)} ${shapeText(shape)}`).join(' and ')
  return badInput(
    `${adapter.path}: tensors ${named} don't fit the base's ${quoted(tensor.name)} ${shapeText(tensor.shape)}: the adapter belongs to another base`,
    { file: adapter.path, tensor: tensors[0].name },
  )
}

/** The 3-D tensors of the base by the module they are parameters of, without the prefixes that may be missing. */
function stacksByOwner(base: Checkpoint): ReadonlyMap<string, StoredTensor[]> {
  const stacks = new Map<string, StoredTensor[]>()
  for (const tensor of base.tensors.values()) {
    const dot = tensor.name.lastIndexOf('.')
    if (tensor.shape.length !== 3 || dot < 0) continue
    const owner = withoutModel(tensor.name.slice(0, dot))
    addTo(stacks, owner, tensor)
  }
  return stacks
}

const withoutModel = (path: string) => path.replace(/^model\./, '')

function matchStack(
  adapter: Adapter,
  module: AdapterModule,
  stacks: ReadonlyMap<string, StoredTensor[]>,
  traits: ModelTraits,
): MatchedModule | UnmatchedModule {
  const owner = withoutModel(module.path.replace(/(?:\.base_layer)+$/, ''))
  const targets = adapter.config?.targetParameters.map((name) => name.split('.').at(-1)) ?? []
  const fitting = (mayBeStack(module) ? (stacks.get(owner) ?? []) : [])
    .filter(({ name }) => targets.length === 0 || targets.includes(name.split('.').at(-1)))
    .flatMap((tensor) => asStack(module, tensor, adapter.config !== undefined, traits) ?? [])
  if (fitting.length === 1) return fitting[0]
  return {
    module,
    reason:
      fitting.length === 0
        ? 'no tensor of the base has this name'
        : ambiguity(fitting.map(({ base }) => base.name)),
  }
}

/**
 * The module as one of a stack [experts, ·, ·], where the shapes allow that. Of a square one only the model's type tells whether
 * it is [in, out], as PEFT takes those whose module says `is_transposed`.
 */
function asStack(
  module: AdapterModule,
  tensor: StoredTensor,
  hasConfig: boolean,
  traits: ModelTraits,
): MatchedModule | undefined {
  const { product, alpha } = module
  if (product.kind !== 'lora') return undefined
  const { A, B } = product
  const [experts, rows, columns] = tensor.shape
  const rank = A.shape[0] / experts
  const isPlain = rows === B.shape[0] && columns === A.shape[1]
  const isTransposed = columns === B.shape[0] && rows === A.shape[1]
  if (module.kind === 'embedding' || !Number.isInteger(rank) || !(isPlain || isTransposed)) return undefined
  // with a config the rank is known, and with it the number of experts
  if (hasConfig && rank !== module.rank) return undefined
  return {
    module: {
      ...module,
      tensor: tensor.name,
      kind: 'experts',
      shape: tensor.shape,
      rows,
      columns,
      experts,
      isTransposed: isPlain && isTransposed ? traits.expertsInOut : isTransposed,
      productShape: [B.shape[0], A.shape[1]],
      rank,
      dim: rank,
      scale: hasConfig || alpha === undefined ? module.scale : loraScale(alpha, rank, false),
    },
    base: tensor,
  }
}

/** What a base checkpoint may put before the names of a model, or of the denoiser of a diffusion pipeline. */
const TRUNK = [
  '',
  'model.diffusion_model.',
  'diffusion_model.',
  'unet.',
  'transformer.',
  'model.',
  PEFT_PREFIX,
]

/** The same for the text encoders, in folders of diffusers and in single files. */
const TEXT_ENCODERS = [
  [
    '',
    'text_encoder.',
    'cond_stage_model.transformer.',
    'conditioner.embedders.0.transformer.',
    'text_encoders.clip_l.transformer.',
  ],
  ['', 'text_encoder_2.', 'conditioner.embedders.1.model.', 'text_encoders.clip_g.transformer.'],
  ['', 'text_encoder_3.', 'text_encoders.t5xxl.transformer.'],
]

/** The base's possible prefixes for a module that had `prefix` in the adapter. */
function basePrefixes(prefix: string): readonly string[] {
  if (/^lora_te2_|^text_encoder_2\.|clip_g/.test(prefix)) return TEXT_ENCODERS[1]
  if (/^lora_te3_|^text_encoder_3\.|t5xxl/.test(prefix)) return TEXT_ENCODERS[2]
  if (/^lora_te1?_|^text_encoder/.test(prefix)) return TEXT_ENCODERS[0]
  return TRUNK
}

/** Finds the names of base tensors that a name in an adapter may stand for: none, one, or several. */
export type BaseIndex = (name: string, prefix: string) => readonly string[]

/**
 * Looks names up as they are, then with the prefixes that either side may have; kohya's, whose dots became underscores,
 * among the base's names with the same done to them. Last, for dotted names, without the first part on either side: a
 * model and its trunk (`bert.encoder…`, `encoder…`).
 */
function baseIndex(base: Checkpoint, isUnderscored: boolean): BaseIndex {
  const names = [...base.tensors.keys()]
  const form = (name: string) => (isUnderscored ? name.replaceAll('.', '_') : name)
  const byPrefixes = new Map<readonly string[], Map<string, string[]>>()
  const indexOf = (prefixes: readonly string[]) => {
    const known = byPrefixes.get(prefixes)
    if (known !== undefined) return known
    const index = new Map<string, string[]>()
    for (const name of names) {
      for (const prefix of prefixes)
        if (name.startsWith(prefix)) addTo(index, form(name.slice(prefix.length)), name)
    }
    byPrefixes.set(prefixes, index)
    return index
  }
  let withoutFirst: Map<string, string[]> | undefined
  const indexWithoutFirst = () => {
    if (withoutFirst === undefined) {
      withoutFirst = new Map()
      for (const name of names) {
        const rest = afterFirst(name)
        if (rest !== undefined) addTo(withoutFirst, rest, name)
      }
    }
    return withoutFirst
  }
  return (name, prefix) => {
    if (!isUnderscored && base.tensors.has(name)) return [name]
    const index = indexOf(basePrefixes(prefix))
    const direct = index.get(form(name))
    if (direct !== undefined || isUnderscored) return direct ?? []
    const rest = afterFirst(name)
    return (rest === undefined ? undefined : index.get(rest)) ?? indexWithoutFirst().get(name) ?? []
  }
}

/** What follows the first part of a dotted name, where that still names a module and its tensor. */
function afterFirst(name: string): string | undefined {
  const rest = name.slice(name.indexOf('.') + 1)
  return name.includes('.') && rest.includes('.') ? rest : undefined
}
