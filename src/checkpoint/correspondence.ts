import { addTo } from '../text/compare.ts'
import { counted, quoted } from '../text/quote.ts'
import { isSameForm } from './matrices.ts'
import { type Candidate, type Rule, renaming } from './renaming.ts'
import type { Checkpoint, StoredTensor } from './types.ts'

/**
 * Parts that wrappers put into the names of a module's parameters, and that no model calls its own modules: activation
 * checkpointing (torch/distributed/algorithms/_checkpoint/checkpoint_wrapper.py), torch.compile (torch/_dynamo/eval_frame.py),
 * FSDP (torch/distributed/fsdp/_common_utils.py), FairScale, and DataParallel, DistributedDataParallel and DeepSpeed.
 */
const WRAPPERS: ReadonlySet<string> = new Set([
  '_checkpoint_wrapped_module',
  '_orig_mod',
  '_fsdp_wrapped_module',
  '_fpw_module',
  'module',
])

/** A name without the parts that wrappers put into it. */
export function plainName(name: string): string {
  if (!/_module|_orig_mod|(^|\.)module\./.test(name)) return name
  const parts = name.split('.')
  const plain = parts.filter((part, i) => i === parts.length - 1 || !WRAPPERS.has(part))
  return plain.join('.')
}

/**
 * Buffers that models compute when they are made and that some versions of a library save and others don't: positions,
 * frequencies of rotary embeddings, masks. They are no result of training.
 */
const COMPUTED =
  /(^|\.)(position_ids|inv_freq|original_inv_freq|cos_cached|sin_cached|masked_bias|causal_mask|attn_mask|relative_position_index|relative_coords_table|num_batches_tracked|embeddings\.token_type_ids)$/

/** GPT-2 and its kin keep their causal mask as a parameter's namesake: [1, 1, n, n]. */
const CAUSAL_MASK = /(^|\.)(attn|attention)\.bias$/

/** Whether a tensor is a buffer that the model computes itself. */
export function isComputed({ name, shape }: { readonly name: string; readonly shape: readonly number[] }) {
  if (COMPUTED.test(name)) return true
  const isSquare = shape.length === 4 && shape[0] === 1 && shape[1] === 1 && shape[2] === shape[3]
  return isSquare && CAUSAL_MASK.test(name)
}

type Model = Pick<Checkpoint, 'path' | 'tensors' | 'config'>

/** A head is the tied embedding's transpose in these places. */
const HEAD = /(^|\.)lm_head\.weight$/
const INPUT_EMBEDDING = /(^|\.)(embed_tokens|wte|word_embeddings)\.weight$/

/** Whether a tensor is the head over the vocabulary, by its name. */
export const isHead = (name: string) => HEAD.test(name)

/** Whether a tensor is the embedding of a model's input, by its name. */
export const isInputEmbedding = (name: string) => INPUT_EMBEDDING.test(name)

const headOf = ({ tensors }: Model) => [...tensors.values()].find(({ name }) => HEAD.test(name))

/** The only input embedding of the shape of a head. */
function embeddingFor({ tensors }: Model, head: StoredTensor): StoredTensor | undefined {
  const embeddings = [...tensors.values()].filter(
    ({ name, shape }) => INPUT_EMBEDDING.test(name) && isSameForm(shape, head.shape),
  )
  return embeddings.length === 1 ? embeddings[0] : undefined
}

const isUntied = ({ config }: Model) => config?.tie_word_embeddings === false

/** The head of a tuned checkpoint whose base has none, because it uses its embedding as one. */
export function tiedHead(base: Model, tuned: Model, inBase: ReadonlyMap<string, string>) {
  if (isUntied(base) || headOf(base) !== undefined) return undefined
  const tensor = headOf(tuned)
  if (tensor === undefined || inBase.has(tensor.name)) return undefined
  const embedding = embeddingFor(base, tensor)
  if (embedding === undefined) return undefined
  const warning = `${base.path}: has no ${quoted(tensor.name)}, as its head is tied to its embedding: ${quoted(embedding.name)} is taken for it`
  return { name: tensor.name, embedding, warning }
}

/** A head that is the embedding under another name. */
export interface TiedHead {
  /** The head's name in a checkpoint that has it. */
  readonly head: string
  readonly embedding: StoredTensor
  /** Whether the checkpoint stores the head all the same. */
  readonly isStored: boolean
  /** Whether that is known, and not only likely: by config.json. */
  readonly isCertain: boolean
}

/**
 * The head that a model ties to its embedding; undefined where it ties none, or has none. Of a checkpoint that stores both, only its
 * config.json tells.
 */
export function tiedPair(model: Model): TiedHead | undefined {
  const { tensors, config } = model
  const embeddings = [...tensors.values()].filter(({ name }) => INPUT_EMBEDDING.test(name))
  const [embedding] = embeddings
  const says = config === undefined ? undefined : tieOf(config)
  if (embeddings.length !== 1 || says === false) return undefined
  const stored = headOf(model)
  if (stored !== undefined) {
    if (says !== true || !isSameForm(stored.shape, embedding.shape)) return undefined
    return { head: stored.name, embedding, isStored: true, isCertain: true }
  }
  if (!mayHaveHead(model)) return undefined
  const isCertain = says === true || Array.isArray(config?.architectures)
  return { head: headNameFor(embedding.name), embedding, isStored: false, isCertain }
}

/** What config.json says of tied embeddings, itself or in the part that speaks of the text. */
function tieOf(config: NonNullable<Model['config']>): boolean | undefined {
  const parts = [config, ...TEXT_PARTS.map((part) => config[part] as Model['config'] | null)]
  const said = parts.map((part) => part?.tie_word_embeddings).filter((value) => typeof value === 'boolean')
  return said.length === 0 ? undefined : said.some((value) => value === true)
}

/** Where the config of a model of several kinds of input speaks of its text. */
export const TEXT_PARTS = ['text_config', 'llm_config', 'language_config'] as const

/** Before transformers 5 a model of images and text had its language model, with the head, in one part. */
const headNameFor = (embedding: string) =>
  embedding.startsWith('language_model.model.') ? 'language_model.lm_head.weight' : 'lm_head.weight'

/** Models with a head over their vocabulary, by their class; others, as a classifier, leave it out for good. */
const WITH_HEAD =
  /(ForCausalLM|LMHeadModel|WithLMHead|DoubleHeadsModel|ForConditionalGeneration|ForPreTraining|ForMaskedLM)$/

function mayHaveHead({ config }: Model): boolean {
  const architecture = Array.isArray(config?.architectures) ? config.architectures[0] : undefined
  return typeof architecture !== 'string' || WITH_HEAD.test(architecture)
}

/**
 * The tuned checkpoint with its embedding under the name of the base's head too, where it has no head of its own because it ties
 * it to the embedding: what changed in the embedding changed in the head. Where the base stores the head alone, the embedding is
 * given that name instead.
 */
export function asTied(base: Model, tuned: Model): { tuned: Model; warnings: string[] } {
  const asIs = { tuned, warnings: [] }
  const head = headOf(base)
  if (head === undefined || headOf(tuned) !== undefined) return asIs
  if (isUntied(tuned) || !mayHaveHead(tuned)) return asIs
  const embedding = embeddingFor(tuned, head)
  if (embedding === undefined) return asIs
  const stays = embeddingFor(base, head) !== undefined
  const tensors = new Map([
    ...[...tuned.tensors].filter(([name]) => stays || name !== embedding.name),
    [head.name, { ...embedding, name: head.name }],
  ])
  const warning = `${tuned.path}: has no ${quoted(head.name)}, as its head is tied to its embedding: ${quoted(embedding.name)} is taken for it`
  return { tuned: { ...tuned, tensors }, warnings: [warning] }
}

type Named = Pick<Checkpoint, 'path' | 'tensors'>

/** Which tensor of a base each tensor of a fine-tune is. */
export interface Correspondence {
  /** The base's name for a tensor of the tuned checkpoint, where the base has it, of whatever shape. */
  readonly inBase: ReadonlyMap<string, string>
  /** What a tensor that only the tuned checkpoint has would be called in the base: without wrappers, by the same rules. */
  readonly nameInBase: (name: string) => string
  readonly warnings: readonly string[]
}

/**
 * Finds for every tensor of `tuned` the one of `base` that it comes from: of one shape first, by its name, by its name without
 * wrappers, by prefixes that are put for others; then, of other shapes, by the same names. No tensor is taken twice.
 */
export function correspondence(base: Named, tuned: Named): Correspondence {
  const inBase = new Map<string, string>()
  const taken = new Set<string>()
  const take = (b: StoredTensor, t: StoredTensor) => {
    inBase.set(t.name, b.name)
    taken.add(b.name)
  }
  const free = (b: StoredTensor | undefined) => b !== undefined && !taken.has(b.name)
  const isOpen = (t: StoredTensor) => !inBase.has(t.name)

  for (const t of tuned.tensors.values()) {
    const b = base.tensors.get(t.name)
    if (b !== undefined && isSameForm(b.shape, t.shape)) take(b, t)
  }
  const plainBase = plainOnes([...base.tensors.values()].filter(free))
  const plainTuned = plainOnes([...tuned.tensors.values()].filter(isOpen))
  let unwrapped = 0
  for (const [plain, t] of plainTuned) {
    const b = plainBase.get(plain)
    if (b === undefined || !isSameForm(b.shape, t.shape)) continue
    take(b, t)
    unwrapped++
  }
  const { pairs, rules } = renaming(candidates(plainBase, free), candidates(plainTuned, isOpen))
  for (const [b, t] of pairs) take(b.tensor, t.tensor)

  for (const t of tuned.tensors.values()) {
    if (!isOpen(t)) continue
    const plain = plainName(t.name)
    const b = [
      base.tensors.get(t.name),
      plainBase.get(plain),
      ...rules.map((rule) => plainBase.get(renamed(plain, rule) ?? '')),
    ].find(free)
    if (b !== undefined) take(b, t)
  }
  // a rule that puts a prefix before all names says nothing of a tensor that the base hasn't
  const longestFirst = rules
    .filter((rule) => rule.tuned !== '')
    .sort((a, b) => b.tuned.length - a.tuned.length)
  const nameInBase = (name: string) => {
    const plain = plainName(name)
    for (const rule of longestFirst) {
      const other = renamed(plain, rule)
      if (other !== undefined) return other
    }
    return plain
  }
  const warnings = [
    ...wrapperWarning(base, tuned, unwrapped),
    ...alike(rules).map((rule) => warningOf(base, tuned, rule)),
  ]
  return { inBase, nameInBase, warnings }
}

function renamed(plain: string, rule: Rule): string | undefined {
  return plain.startsWith(rule.tuned) ? `${rule.base}${plain.slice(rule.tuned.length)}` : undefined
}

/** Tensors by their names without wrappers; under their own where two would be called alike. */
function plainOnes(tensors: readonly StoredTensor[]): Map<string, StoredTensor> {
  const groups = new Map<string, StoredTensor[]>()
  for (const tensor of tensors) addTo(groups, plainName(tensor.name), tensor)
  const named = new Map<string, StoredTensor>()
  for (const [plain, group] of groups) {
    if (group.length === 1) named.set(plain, group[0])
    else for (const tensor of group) named.set(tensor.name, tensor)
  }
  return named
}

const candidates = (
  named: ReadonlyMap<string, StoredTensor>,
  isLeft: (tensor: StoredTensor) => boolean,
): Candidate[] => [...named].flatMap(([plain, tensor]) => (isLeft(tensor) ? [{ plain, tensor }] : []))

/** Rules that differ by numbers alone, as of layers, said as one. */
function alike(rules: readonly Rule[]): Rule[] {
  const masked = (prefix: string) => prefix.replace(/(?<=^|\.)\d+(?=\.)/g, '*')
  const groups = new Map<string, Rule>()
  for (const { base, tuned, pairs } of rules) {
    const rule = { base: masked(base), tuned: masked(tuned) }
    const key = `${rule.base} ${rule.tuned}`
    groups.set(key, { ...rule, pairs: pairs + (groups.get(key)?.pairs ?? 0) })
  }
  return [...groups.values()]
}

function wrapperWarning(base: Named, tuned: Named, count: number): string[] {
  if (count === 0) return []
  return [
    `the names of ${counted(count, 'tensor')} in ${tuned.path} and ${base.path} differ by what wrappers put into them (FSDP, torch.compile, checkpointing, DataParallel): they are paired without it`,
  ]
}

function warningOf(base: Named, tuned: Named, rule: Rule): string {
  if (rule.base !== '' && rule.tuned !== '') {
    return `${counted(rule.pairs, 'name')} in ${tuned.path} ${rule.pairs === 1 ? 'begins' : 'begin'} with ${quoted(rule.tuned)} where ${base.path} has ${quoted(rule.base)}: they are paired`
  }
  const [longer, shorter] = rule.base === '' ? [tuned, base] : [base, tuned]
  return `the names in ${longer.path} begin with ${quoted(rule.base || rule.tuned)}, which those in ${shorter.path} lack: they are paired without it`
}
