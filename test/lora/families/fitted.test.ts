import { describe, expect, test } from 'vitest'
import { NAMINGS } from '../../../src/lora/families/types.ts'
import { mergedByReader } from '../goldens.ts'
import { adapterFrom } from '../support.ts'
import { weightsOf } from './hollow.ts'
import {
  adapterTensors,
  asPipeline,
  changed,
  checkpointFrom,
  factorsFor,
  type Valued,
  type ValuedTensors,
  withValues,
} from './valued.ts'
import { SMALL, singleFile } from './whole.ts'

/** Of names that differ in their numbers alone the first and the last. */
function ofEachKind(names: readonly string[]): string[] {
  const kindOf = (name: string) => name.replace(/\d+/g, 'N')
  const isFirst = (name: string, i: number) => names.findIndex((one) => kindOf(one) === kindOf(name)) === i
  const isLast = (name: string, i: number) => names.findLastIndex((one) => kindOf(one) === kindOf(name)) === i
  return names.filter((name, i) => isFirst(name, i) || isLast(name, i))
}

const isEqual = (a: Float64Array, b: Float64Array) => a.length === b.length && a.every((x, i) => x === b[i])

/** One adapter under each naming's names, on one model in both layouts. */
describe.each(Object.keys(SMALL))('%s', (id) => {
  const file = withValues(singleFile(id))
  const weights = ofEachKind([
    ...weightsOf(file),
    ...[...file.keys()].filter((name) => /in_proj_weight$|\.text_projection$/.test(name)),
  ])
  const factors = new Map(weights.map((name, i) => [name, factorsFor(file.get(name)!, 1000 + 2 * i)]))
  const layouts = [(all: ValuedTensors) => all, asPipeline]
  const bases = layouts.map((layout) => checkpointFrom(layout(file)))

  test.each(NAMINGS)('names of %s change both layouts in the same way', async (naming) => {
    const { tensors, named } = adapterTensors(file, naming, factors)
    const adapter = await adapterFrom({ tensors }, 2)
    const expected: ValuedTensors = new Map(
      [...file].map(([name, tensor]): [string, Valued] => [
        name,
        named.includes(name) ? { ...tensor, data: changed(tensor, factors.get(name)!) } : tensor,
      ]),
    )
    expect(named.length).toBeGreaterThan(weights.length / 4)
    for (const [i, layout] of layouts.entries()) {
      const before = layout(file)
      const merged = await mergedByReader(adapter, await bases[i])
      const wrong = [...layout(expected)].filter(
        ([name, { data }]) => !isEqual(merged.get(name) ?? before.get(name)!.data, data),
      )
      expect(wrong.map(([name]) => name)).toEqual([])
      expect(merged.size).toBeGreaterThanOrEqual(named.length)
    }
  })
})
