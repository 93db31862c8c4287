import { badInput } from '../../errors.ts'
import { quoted } from '../../text/quote.ts'
import type { JsonObject } from '../model.ts'
import { GGUF_ARCHITECTURES, type GgufArchitecture, type Place } from './gguf-architectures.ts'
import { type Heads, inverseRows, rowsOfB } from './gguf-rows.ts'

/** What of a model's config.json tells how llama.cpp names and orders its weights. */
export interface GgufModel {
  /** As transformers calls it. */
  readonly architecture: string
  readonly of: GgufArchitecture
  /** Undefined where config.json doesn't say. */
  readonly heads: Heads | undefined
  /** How many experts are stacked; undefined where config.json doesn't say. */
  readonly experts: number | undefined
  /** The head is the embedding, and the GGUF has no output.weight. */
  readonly isTied: boolean
}

/** A tensor of the base, as llama.cpp names it, that factors of a module change. */
export interface GgufPart {
  /** Such as `blk.0.attn_q.weight`; the factors are `….lora_a` [r, in] and `….lora_b` [out, r]. */
  readonly tensor: string
  /** For each row of its B the row of PEFT's; absent where they are the same. */
  readonly rows?: Uint32Array
  /** Which of the stacked experts it is: lora_a is [experts, r, in], lora_b [experts, out, r], of all of them. */
  readonly expert?: number
  /** Its lora_a is [vocabulary, r], PEFT's lora_embedding_A transposed, and its lora_b [dim, r], lora_embedding_B as it is. */
  readonly isEmbedding?: true
}

export type GgufPlace = { readonly parts: readonly GgufPart[] } | { readonly refusal: string }

/**
 * What a config.json says of a model. `isTied` is what the caller knows of it, from the base's tensors. Throws `bad-input` where there is
 * no config.json, and for an architecture that isn't known, by its name.
 */
export function ggufModel(config: JsonObject | undefined, path: string, isTied?: boolean): GgufModel {
  const place = { file: path }
  const { architectures } = config ?? {}
  const architecture: unknown = Array.isArray(architectures) ? architectures[0] : undefined
  if (config === undefined || typeof architecture !== 'string') {
    throw badInput(
      `${path}: GGUF's names hang on the model's architecture, which no config.json beside it tells; name the base's folder`,
      place,
    )
  }
  if (!Object.hasOwn(GGUF_ARCHITECTURES, architecture)) {
    throw badInput(
      `${path}: the architecture ${quoted(architecture)} is none of those whose GGUF names and order of rows are known; use llama.cpp's convert_lora_to_gguf.py`,
      place,
    )
  }
  const of = GGUF_ARCHITECTURES[architecture]
  const said = config.tie_word_embeddings
  return {
    ...{ architecture, of, heads: headsOf(config, of) },
    experts: countIn(config, 'num_experts', 'num_local_experts'),
    isTied: isTied ?? (typeof said === 'boolean' ? said : of.isTiedByDefault),
  }
}

/** The heads that a config.json tells, of an architecture by llama.cpp's name; undefined where it doesn't. */
export function headsOf(config: JsonObject, { name }: { readonly name?: string } = {}): Heads | undefined {
  const queries = countIn(config, 'num_attention_heads', 'n_head')
  if (queries === undefined) return undefined
  if (name !== 'falcon') return { queries, keys: countIn(config, 'num_key_value_heads') ?? queries }
  // FalconConfig: multi_query holds unless the newer layout is asked for, and then there is one key for all
  const isOne = config.new_decoder_architecture !== true && config.multi_query !== false
  return { queries, keys: isOne ? 1 : (countIn(config, 'num_kv_heads', 'n_head_kv') ?? queries) }
}

/** The first of these settings that is a count. */
function countIn(config: JsonObject, ...keys: readonly string[]): number | undefined {
  const found = keys.map((key) => config[key]).find((value) => Number.isInteger(value))
  return typeof found === 'number' && found > 0 ? found : undefined
}

/** The number of a layer, and what follows it. */
const LAYER = /^(\d+)\.(.+)$/

/** A parameter of an experts module that stacks them all, as transformers 5 has them. */
const STACK = /^(?:mlp|block_sparse_moe)\.experts\.(gate_up_proj|down_proj)$/

/**
 * Where the factors of one expert of a stack go. Gate and up are the two halves of the rows of `gate_up_proj` (llama.cpp v0.5.0:
 * conversion/qwen.py, modify_tensors; of Mixtral's w1 and w3 transformers 5: conversion_mapping.py) in all models that have places for
 * experts here; gpt-oss, which has them in turn, is none of these. `path` is the parameter's, `rows` those of one expert's B.
 */
export function ggufStackPlace(path: string, rows: number, expert: number, model: GgufModel): GgufPlace {
  const { of } = model
  const [, layer, within = ''] =
    (path.startsWith(of.layers) && LAYER.exec(path.slice(of.layers.length))) || []
  const [, leaf] = STACK.exec(within) ?? []
  const hasExperts = Object.values(of.modules).some((place) => 'to' in place && place.to === 'ffn_gate_exps')
  if (leaf === undefined || !hasExperts) return unknownPlace(model)
  const tensor = (role: string) => `blk.${layer}.ffn_${role}_exps.weight`
  if (leaf === 'down_proj') return { parts: [{ tensor: tensor('down'), expert }] }
  if (rows % 2 !== 0) return { refusal: `has ${rows} rows, which are no halves of gate and up` }
  const half = (first: number) => Uint32Array.from({ length: rows / 2 }, (_, i) => first + i)
  return {
    parts: [
      { tensor: tensor('gate'), expert, rows: half(0) },
      { tensor: tensor('up'), expert, rows: half(rows / 2) },
    ],
  }
}

const unknownPlace = ({ of, architecture }: GgufModel) => ({
  refusal: `has no place in llama.cpp's ${of.name} (${architecture}) that is known here`,
})

/**
 * Where the factors of a module go, given how many rows its B has, or why they have no place. `path` is PEFT's, without
 * `base_model.model.`; `isEmbedding` says that its factors are lora_embedding_A and lora_embedding_B.
 */
export function ggufPlace(path: string, rows: number, model: GgufModel, isEmbedding = false): GgufPlace {
  const { of, heads, isTied } = model
  const module = path.replace(/\.base_layer(?=\.|$)/g, '')
  if (module === of.embedding) return embeddingPlace(isTied, isEmbedding)
  if (module === of.head) return headPlace(of, isTied)
  const [, layer, within] = (module.startsWith(of.layers) && LAYER.exec(module.slice(of.layers.length))) || []
  const known = within === undefined ? undefined : placesOf(of, within)
  if (layer === undefined || known === undefined) return unknownPlace(model)
  const parts: GgufPart[] = []
  for (const place of known.places) {
    const order = place.rows === undefined ? undefined : heads && rowsOfB(place.rows, rows, heads)
    if (place.rows !== undefined && order === undefined) return { refusal: unorderable(rows, heads) }
    parts.push({
      tensor: `blk.${layer}.${place.to}.weight`,
      ...(order !== undefined && !isIdentity(order, rows) && { rows: order }),
      ...(known.expert !== undefined && { expert: known.expert }),
    })
  }
  return { parts }
}

function embeddingPlace(isTied: boolean, isEmbedding: boolean): GgufPlace {
  if (isTied) {
    // GGML_ASSERT(ggml_can_mul_mat(a, b)) in ggml.c, seen at v0.5.0
    return {
      refusal:
        'is the embedding of a model whose head is tied to it: llama.cpp loads such an adapter, and its process ends when it is used',
    }
  }
  if (!isEmbedding) {
    return { refusal: 'is the embedding, with factors of a linear layer, which llama.cpp refuses' }
  }
  return { parts: [{ tensor: 'token_embd.weight', isEmbedding: true }] }
}

function headPlace({ headless }: GgufArchitecture, isTied: boolean): GgufPlace {
  if (headless !== undefined) return { refusal: headless }
  if (!isTied) return { parts: [{ tensor: 'output.weight' }] }
  return { refusal: 'is the head of a model that ties it to the embedding: the GGUF has no output.weight' }
}

function placesOf({ modules }: GgufArchitecture, within: string) {
  const number = /(?<=\.experts\.)\d+(?=\.)/.exec(within)?.[0]
  const name = number === undefined ? within : within.replace(`.experts.${number}.`, '.experts.*.')
  if (!Object.hasOwn(modules, name)) return undefined
  const found = modules[name]
  return { places: listOf(found), ...(number !== undefined && { expert: Number(number) }) }
}

const listOf = (found: Place | readonly Place[]): readonly Place[] => ('to' in found ? [found] : found)

const unorderable = (rows: number, heads: Heads | undefined) =>
  heads === undefined
    ? "has rows in an order of its own in llama.cpp, and config.json doesn't say how many heads share them"
    : `has ${rows} rows, which are not of the ${heads.queries} heads with ${heads.keys} keys that config.json speaks of`

const isIdentity = (order: Uint32Array, rows: number) =>
  order.length === rows && order.every((row, i) => row === i)

/** A module that a tensor's factors in a GGUF belong to. */
export interface PeftModule {
  /** PEFT's path; `*` stands for the number of an expert, of which the factors hold all. */
  readonly path: string
  /** For each row of PEFT's B the row of llama.cpp's; absent where they are the same. */
  readonly rows?: Uint32Array
  readonly isEmbedding?: true
}

/** The way back: whose weight a tensor of llama.cpp's is, given how many rows its B has, or why that can't be told. */
export function peftModule(
  tensor: string,
  rows: number,
  { of, architecture, heads }: GgufModel,
): PeftModule | { readonly refusal: string } {
  if (tensor === 'token_embd.weight') return { path: of.embedding, isEmbedding: true }
  if (tensor === 'output.weight') return { path: of.head }
  const [, layer, name] = /^blk\.(\d+)\.(.+)\.weight$/.exec(tensor) ?? []
  const found = Object.entries(of.modules).find(([, place]) => listOf(place).some((one) => one.to === name))
  if (found === undefined) {
    return { refusal: `is of no module of ${architecture} that is known here` }
  }
  const [path, place] = found
  if (!('to' in place)) {
    return {
      refusal: `is a part of ${of.layers}${layer}.${path}, whose three parts have factors of their own`,
    }
  }
  const order = place.rows === undefined ? undefined : heads && rowsOfB(place.rows, rows, heads)
  if (place.rows !== undefined && order === undefined) return { refusal: unorderable(rows, heads) }
  return {
    path: `${of.layers}${layer}.${path}`,
    ...(order !== undefined && !isIdentity(order, rows) && { rows: inverseRows(order) }),
  }
}
