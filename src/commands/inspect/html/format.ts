import type { IntegerRange, Interval } from '../../../linalg/spectrum/spectrum.ts'
import { splitPrefix } from '../../../lora/names.ts'
import { grouped, short } from '../../../text/numbers.ts'

/** Where nothing is known. */
export const NONE = '–'

const DIGITS = 4
/** Bounds that agree to so much are shown as one number. */
const SAME = 1e-3

/** One number, or the two bounds where they differ. */
export function intervalText({ atLeast, atMost }: Interval): string {
  if (atMost - atLeast <= SAME * atMost) return numberText(atMost)
  return atLeast > 0 ? `${short(atLeast, 3)} – ${short(atMost, 3)}` : `≤ ${short(atMost, 3)}`
}

/** One integer, or both bounds; a bound that is no more than the order says nothing. */
export function rangeText({ atLeast, atMost }: IntegerRange, order = Number.POSITIVE_INFINITY): string {
  if (atLeast < atMost && atMost >= order) return `≥ ${grouped(atLeast)}`
  return atLeast === atMost ? grouped(atMost) : `${grouped(atLeast)} – ${grouped(atMost)}`
}

/** The same in as little room as a cell has: 65+ where only the lower bound is known. */
export function rangeCell({ atLeast, atMost }: IntegerRange): string {
  if (atLeast === atMost) return String(atMost)
  return atMost > 1.5 * atLeast + 2 ? `${atLeast}+` : `≤${atMost}`
}

/** A measured number: as many digits as others of its column have. */
export function numberText(x: number): string {
  return x >= 1e-3 && x < 10 ** DIGITS ? x.toPrecision(DIGITS) : short(x, DIGITS)
}

/** Where a matrix sits in a model, read from its name. */
export interface Place {
  /** What repeats: `model.layers`, `double_blocks`, `down_blocks`. */
  readonly stack: string
  /** Which of the repeated ones: `12`, or `1.0.0` where blocks hold blocks. */
  readonly layer: string
  /** What is left of the name: `self_attn.q_proj`; experts share one, `mlp.experts.*.w1`. */
  readonly projection: string
}

/** Containers that only subdivide a block, so that their index belongs to the layer rather than to the projection. */
const NESTED = new Set([
  'attentions',
  'transformer_blocks',
  'resnets',
  'motion_modules',
  'temp_attentions',
  'blocks',
  'layers',
])
/** What wrappers of the same model put after the names proper. */
const SUFFIXES = ['.weight', '.default', '.base_layer']

const isIndex = (part: string | undefined) => part !== undefined && /^\d+$/.test(part)

/** The place of the matrix with this name, or undefined where nothing in the name counts layers. */
export function placeOf(name: string): Place | undefined {
  const parts = partsOf(name)
  const at = parts.findIndex((part, i) => i > 0 && isIndex(part))
  if (at < 0) return undefined
  const layer = [parts[at]]
  let rest = at + 1
  while (NESTED.has(parts[rest]) && isIndex(parts[rest + 1])) {
    layer.push(parts[rest + 1])
    rest += 2
  }
  const projection = parts.slice(rest).map((part, i, all) => (isExpert(all, i) ? '*' : part))
  if (projection.length === 0) return undefined
  return { stack: parts.slice(0, at).join('.'), layer: layer.join('.'), projection: projection.join('.') }
}

const isExpert = (parts: readonly string[], i: number) => isIndex(parts[i]) && parts[i - 1] === 'experts'

/** The parts between dots; kohya joins them by underscores, where only the indices tell where a part ends. */
function partsOf(name: string): string[] {
  let bare = splitPrefix(name, 'peft').path
  for (let suffix: string | undefined = ''; suffix !== undefined; ) {
    bare = bare.slice(0, bare.length - suffix.length)
    suffix = SUFFIXES.find((ending) => bare.endsWith(ending))
  }
  if (!bare.includes('.')) bare = bare.replace(/_(\d+)(?=_|$)/g, '.$1').replace(/(\.\d+)_/g, '$1.')
  // `name[3]` is the fourth of a stack of experts
  return bare.replace(/\[\d+\]$/, '[*]').split('.')
}

/** Orders layers by their numbers, outermost first: 2 before 10, 1.9 before 1.10. */
export function compareLayers(a: string, b: string): number {
  const [x, y] = [a, b].map((layer) => layer.split('.').map(Number))
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (x[i] ?? -1) - (y[i] ?? -1)
    if (difference !== 0) return difference
  }
  return 0
}
