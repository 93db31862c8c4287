import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import type { Checkpoint } from '../../src/checkpoint/types.ts'
import { readFactors, readFloats } from '../../src/lora/factors.ts'
import { matchToBase } from '../../src/lora/match.ts'
import type { Adapter } from '../../src/lora/model.ts'
import type { TestTensor } from './support.ts'

/** The base with an adapter in it, by what the reader gives. */
export async function mergedByReader(
  adapter: Adapter,
  base: Checkpoint,
  weight = 1,
): Promise<Map<string, Float64Array>> {
  const { matched, unmatched, replaced } = matchToBase(adapter, base)
  expect(unmatched).toEqual([])
  const weights = new Map<string, Float64Array>()
  for (const { module, base: tensor } of matched) {
    const W = weights.get(tensor.name) ?? Float64Array.from(await readFloats(tensor))
    for (let e = 0; e < module.experts; e++) {
      const { B, A, scale } = await readFactors(module, module.kind === 'experts' ? e : undefined)
      for (let i = 0; i < module.rows; i++) {
        for (let j = 0; j < module.columns; j++) {
          let sum = 0
          for (let k = 0; k < A.rows; k++) sum += B.data[i * A.rows + k] * A.data[k * A.columns + j]
          W[(e * module.rows + i) * module.columns + j] += weight * scale * sum
        }
      }
    }
    weights.set(tensor.name, W)
  }
  for (const { replaced: whole, base: tensor } of replaced) {
    const stored = await readFloats(whole.tensor)
    const before = await readFloats(tensor!)
    weights.set(
      tensor!.name,
      Float64Array.from(stored, (x, i) => (whole.how === 'add' ? x + before[i] : x)),
    )
  }
  return weights
}

/** ‖a − b‖ / ‖b‖. */
export const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.hypot(...Array.from(a, (x, i) => x - b[i])) / (Math.hypot(...Array.from(b)) || 1)

/** Numbers as the goldens hold them: nested lists. */
export type Nested = number | readonly Nested[]
export interface GoldenTensor {
  readonly values: Nested
}
export interface ComfyCase {
  readonly what: string
  readonly strength: number
  readonly base: Readonly<Record<string, GoldenTensor>>
  readonly adapter: Readonly<Record<string, Nested | GoldenTensor>>
  readonly result: Readonly<Record<string, Nested>>
}
const isTensor = (value: Nested | GoldenTensor): value is GoldenTensor =>
  typeof value === 'object' && !Array.isArray(value)
export const shapeOf = (value: Nested): number[] =>
  typeof value === 'number' ? [] : [value.length, ...shapeOf(value[0])]
export const flat = (value: Nested): number[] => (typeof value === 'number' ? [value] : value.flatMap(flat))
export const tensorsOf = (all: Readonly<Record<string, Nested | GoldenTensor>>) =>
  Object.fromEntries(
    Object.entries(all).map(([name, given]): [string, TestTensor] => {
      const value = isTensor(given) ? given.values : given
      return [name, { shape: shapeOf(value), data: Float64Array.from(flat(value)) }]
    }),
  )
export const goldens = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/${name}.json`, import.meta.url), 'utf8')).cases
