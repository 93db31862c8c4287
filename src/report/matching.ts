import { grouped, percentDown } from './numbers.ts'

/** How many tensors of two models found their counterpart. */
export interface Matching {
  readonly matched: number
  readonly unmatched: number
}

/** That a comparison is of a part of the models, as a sentence's middle; undefined where it is of all. */
export function partText({ matched, unmatched }: Matching): string | undefined {
  if (unmatched === 0) return undefined
  const all = matched + unmatched
  return `only ${grouped(matched)} of ${grouped(all)} tensors (${percentDown(matched / all)}) have their counterpart in the other model`
}
