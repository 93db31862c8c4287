import { quoted } from '../formats/quote.ts'
import { isSameForm } from './same-form.ts'
import type { Checkpoint, StoredTensor } from './types.ts'

type Named = Pick<Checkpoint, 'path' | 'tensors' | 'config'>

/** A head is the tied embedding's transpose in these places. */
const HEAD = /(^|\.)lm_head\.weight$/
const INPUT_EMBEDDING = /(^|\.)(embed_tokens|wte|word_embeddings)\.weight$/

/** Whether a tensor is the head over the vocabulary, by its name. */
export const isHead = (name: string) => HEAD.test(name)

const headOf = ({ tensors }: Named) => [...tensors.values()].find(({ name }) => HEAD.test(name))

/** The only input embedding of the shape of a head. */
function embeddingFor({ tensors }: Named, head: StoredTensor): StoredTensor | undefined {
  const embeddings = [...tensors.values()].filter(
    ({ name, shape }) => INPUT_EMBEDDING.test(name) && isSameForm(shape, head.shape),
  )
  return embeddings.length === 1 ? embeddings[0] : undefined
}

const isUntied = ({ config }: Named) => config?.tie_word_embeddings === false

/** The head of a tuned checkpoint whose base has none, because it uses its embedding as one. */
export function tiedHead(base: Named, tuned: Named, inBase: ReadonlyMap<string, string>) {
  if (isUntied(base) || headOf(base) !== undefined) return undefined
  const tensor = headOf(tuned)
  if (tensor === undefined || inBase.has(tensor.name)) return undefined
  const embedding = embeddingFor(base, tensor)
  if (embedding === undefined) return undefined
  const warning = `${base.path}: has no ${quoted(tensor.name)}, as its head is tied to its embedding: ${quoted(embedding.name)} is taken for it`
  return { name: tensor.name, embedding, warning }
}

/** Models with a head over their vocabulary, by their class; others, as a classifier, leave it out for good. */
const WITH_HEAD =
  /(ForCausalLM|LMHeadModel|WithLMHead|DoubleHeadsModel|ForConditionalGeneration|ForPreTraining|ForMaskedLM)$/

function mayHaveHead({ config }: Named): boolean {
  const architecture = Array.isArray(config?.architectures) ? config.architectures[0] : undefined
  return typeof architecture !== 'string' || WITH_HEAD.test(architecture)
}

/**
 * The tuned checkpoint with its embedding under the name of the base's head too, where it has no head of its own because it ties
 * it to the embedding: what changed in the embedding changed in the head. Where the base stores the head alone, the embedding is
 * given that name instead.
 */
export function asTied(base: Named, tuned: Named): { tuned: Named; warnings: string[] } {
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
