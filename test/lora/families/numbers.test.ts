import { expect, test } from 'vitest'
import { placesOf } from '../../../src/lora/families/places.ts'
import { type ComfyCase, distance, flat, goldens, type Nested, shapeOf } from '../goldens.ts'
import { flux, prefixed } from './hollow.ts'
import { layoutOfAll } from './whole.ts'

const cases: readonly ComfyCase[] = goldens('goldens/comfy').filter(({ what }: ComfyCase) =>
  /^Flux/.test(what),
)

/** The rows of B that change each row of a tensor: its module's, or those of the slice, halves swapped where they are. */
function rowsOfB(rows: number, place: { rows?: readonly [number, number]; swapHalves?: true }): number[] {
  const [from, to] = place.rows ?? [0, rows]
  return Array.from({ length: to - from }, (_, i) => (place.swapHalves ? (i + rows / 2) % rows : i))
}

test.each(cases.map((one) => [one.what, one] as const))(
  '%s: the weights that ComfyUI computes',
  (_, golden) => {
    const layout = layoutOfAll(
      prefixed('diffusion_model.', flux({ hidden: 4, head: 4, double: 1, single: 1 })),
    )
    const find = placesOf(layout)
    const adapter = golden.adapter as Readonly<Record<string, Nested>>
    const weights = new Map(
      Object.entries(golden.base).map(([name, { values }]) => [name, Float64Array.from(flat(values))]),
    )
    for (const down of Object.keys(adapter).filter((name) => /lora_(?:A|down)\.weight$/.test(name))) {
      const module = down.replace(/\.lora_\w+\.weight$/, '')
      const up = down.replace('lora_A', 'lora_B').replace('lora_down', 'lora_up')
      const [r, columns] = shapeOf(adapter[down])
      const [A, B] = [flat(adapter[down]), flat(adapter[up])]
      const scale = Number(adapter[`${module}.alpha`] ?? r) / r
      const [place, ...others] = find(module)
      expect(others).toEqual([])
      const W = weights.get(place.tensor.slice('diffusion_model.'.length))!
      for (const [i, row] of rowsOfB(B.length / r, place).entries()) {
        for (let j = 0; j < columns; j++) {
          let sum = 0
          for (let k = 0; k < r; k++) sum += B[row * r + k] * A[k * columns + j]
          W[(i + (place.rows?.[0] ?? 0)) * columns + j] += scale * sum
        }
      }
    }
    for (const [name, result] of Object.entries(golden.result)) {
      const W = weights.get(name.replace(/^diffusion_model\./, ''))!
      expect(distance(W, flat(result))).toBeLessThan(1e-6)
    }
    expect(Object.keys(golden.result).length).toBe(golden.what === 'Flux, kohya' ? 1 : 3)
  },
)

test('there are two', () => expect(cases.length).toBe(2))
