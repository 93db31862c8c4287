import { editDistance } from '../../text/compare.ts'
import { FAMILIES } from './layout.ts'
import type { Family } from './types.ts'

/** What is known of a name: `near` is the name that it is a slip of, with N for numbers. */
export type Known = { readonly is: 'known' | 'unknown' } | { readonly is: 'slip'; readonly near: string }

/** A path with underscores for dots and N for its numbers, so that all blocks and all namings have one. */
const patternOf = (path: string) => path.replaceAll('.', '_').replace(/(?<=^|_)\d+(?=_|$)/g, 'N')

const patterns = new Map(
  FAMILIES.map(({ id, modules }) => [id, new Map(modules.map((path) => [patternOf(path), path]))]),
)

/**
 * Relatives of the U-Nets that share their names, and have these besides: AnimateDiff's and Stable Video Diffusion's layers over time,
 * Kandinsky's and DeepFloyd's attention without blocks (diffusers: models/unets, models/attention_processor.py @2026-08-23).
 */
const RELATIVES =
  /(?:^|_)(?:motion_modules|time_stack|temporal_\w+|time_mix\w*|add_[kv]_proj)(?:_|$)|_attentions_N_(?:to_[qkv]|to_out_N)$/

/** The layers of text encoders: CLIP's by transformers and open_clip, T5's, and those of language models. */
const ENCODER =
  /^(?:(?:text_model_)?(?:encoder_layers_N|embeddings|final_layer_norm|transformer_resblocks_N)_|text_projection$|(?:encoder_|decoder_)?block_N_layer_N_|(?:model_|language_model_|encoder_)*(?:layers_N_|embed_tokens$|norm$)|shared$|lm_head$|visual_|vision_|token_embedding$|positional_embedding$)/

/** Whether text encoders have a module at a path. */
export const isOfEncoders = (path: string): boolean => ENCODER.test(`${patternOf(path)}`)

/** Edits that make a slip of the hand of a word: two letters that change places are two. */
const SLIP = 2
/** Shorter words are too near to each other: q, k, proj. */
const SHORTEST = 5
const VOCABULARY = new Set(
  [...patterns.values()].flatMap((known) => [...known.keys()].flatMap((one) => one.split('_'))),
)
const withoutDigits = (word: string) => word.replaceAll(/\d/g, '')

/** What these families, or all of them, know of a denoiser's module at a path, in whatever naming. */
export function knownPath(path: string, families: readonly Family[] = FAMILIES): Known {
  const pattern = patternOf(path)
  if (families.some(({ id }) => patterns.get(id)?.has(pattern))) return { is: 'known' }
  if (families.some(({ component }) => component === 'unet') && RELATIVES.test(pattern))
    return { is: 'known' }
  const known = slips.get(families) ?? new Map<string, Known>()
  slips.set(families, known)
  const before = known.get(pattern)
  if (before !== undefined) return before
  const found = slipOf(pattern, families)
  known.set(pattern, found)
  return found
}

/** Of adapters with thousands of modules, whose patterns are few. */
const slips = new WeakMap<readonly Family[], Map<string, Known>>()

function slipOf(pattern: string, families: readonly Family[]): Known {
  const words = pattern.split('_')
  for (const { id } of families) {
    for (const [one, path] of patterns.get(id) ?? []) {
      const others = one.split('_')
      if (others.length !== words.length) continue
      const [at, another] = words.flatMap((word, i) => (word === others[i] ? [] : [i]))
      if (another === undefined && isSlip(words[at], others[at])) return { is: 'slip', near: path }
    }
  }
  return { is: 'unknown' }
}

/** Whether a word, which no family has, is another but for a slip; numbers in words tell families apart, as attn and attn1. */
const isSlip = (word: string, other: string) =>
  !VOCABULARY.has(word) &&
  Math.min(word.length, other.length) >= SHORTEST &&
  withoutDigits(word) !== withoutDigits(other) &&
  editDistance(word, other) <= SLIP
