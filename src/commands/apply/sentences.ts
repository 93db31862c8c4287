import { firstOf, shownName } from '../../text/names.ts'
import type { Advice } from './result.ts'

/** A gain as a percentage of three digits; it may be a little above 100, where rounding happens to give more than it takes. */
export const keptText = (gain: number) => `${Number((gain * 100).toPrecision(3))} %`

/** What rounding takes, and what to do about it: bf16 keeps 62 % of this adapter in layers 0–3: write --dtype f32, … */
export function adviceText({ dtype, gain, names }: Advice): string {
  const where = layersText(names)
  const cure =
    dtype === 'f32' ? 'it is smaller than what f32 tells apart' : 'write --dtype f32, or keep the adapter'
  return `${dtype} keeps ${keptText(gain)} of what is added ${where}: ${cure}`
}

/** The numbers of the layers, where all have one, in runs; else the first names. */
function layersText(names: readonly string[]): string {
  const numbers = names.map((name) => /(?:^|\.)(\d+)\./.exec(name)?.[1])
  if (numbers.some((number) => number === undefined)) return `in ${firstOf(names.map(shownName))}`
  const sorted = [...new Set(numbers.map(Number))].sort((a, b) => a - b)
  const runs: [number, number][] = []
  for (const n of sorted) {
    const last = runs.at(-1)
    if (last !== undefined && last[1] === n - 1) last[1] = n
    else runs.push([n, n])
  }
  const text = runs.map(([first, last]) => (first === last ? String(first) : `${first}–${last}`))
  return `in ${sorted.length === 1 ? 'layer' : 'layers'} ${firstOf(text)}`
}
