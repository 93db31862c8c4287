import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { loadPeftAdapter, type ModuleClass, mergePeft, readSafetensorsFile } from './peft-rules.ts'

const FIXTURES = fileURLToPath(new URL('../fixtures/peft', import.meta.url))

/** torch's and transformers' classes as the reader calls them. */
const CLASSES: Record<string, ModuleClass> = {
  Linear: 'Linear',
  Conv1D: 'Conv1D',
  Embedding: 'Embedding',
  Conv1d: 'ConvNd',
  Conv2d: 'ConvNd',
}

test.each(readdirSync(FIXTURES))('PEFT’s own adapter %s is merged as PEFT merges it', (name) => {
  const folder = `${FIXTURES}/${name}`
  const base = readSafetensorsFile(`${folder}/base.safetensors`)
  const expected = readSafetensorsFile(`${folder}/merged.safetensors`)
  const classes: Record<string, string> = JSON.parse(readFileSync(`${folder}/classes.json`, 'utf8'))
  const { weights, missing, unexpected } = mergePeft(base, loadPeftAdapter(folder), {
    classOf: (path) => CLASSES[classes[path]] ?? 'other',
    expertsAreTransposed: name.endsWith('-transposed'),
  })
  expect({ missing, unexpected }).toEqual({ missing: [], unexpected: [] })
  expect([...weights.keys()].sort()).toEqual([...expected.keys()].sort())
  let changed = 0
  for (const [tensor, W] of expected) {
    weights.get(tensor)!.data.forEach((value, i) => {
      expect(Math.abs(value - W.data[i]), tensor).toBeLessThan(1e-13)
    })
    if (W.data.some((value, i) => value !== base.get(tensor)!.data[i])) changed++
  }
  expect(changed).toBeGreaterThan(0)
})
