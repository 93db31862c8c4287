import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import {
  loadPeftAdapter,
  type ModuleClass,
  mergePeft,
  readSafetensorsFile,
  type Tensor,
} from '../lora/peft-rules.ts'
import { temporaryFolder } from '../temporary.ts'
import { combined, refused } from './support.ts'

/** What PEFT makes of our results, by its own rules and beside what it merged of the same adapters itself. */
const FIXTURES = fileURLToPath(new URL('../fixtures/peft', import.meta.url))
const NAMES = readdirSync(FIXTURES)
const CLASSES: Record<string, ModuleClass> = {
  Linear: 'Linear',
  Conv1D: 'Conv1D',
  Embedding: 'Embedding',
  Conv1d: 'ConvNd',
  Conv2d: 'ConvNd',
}
/** float32's rounding of factors, of weights around 1. */
const FLOAT32 = 2e-6

const folder = temporaryFolder()
let count = 0
const fresh = () => join(folder, String(count++))
const fileOf = (name: string, file: string) =>
  readSafetensorsFile(join(FIXTURES, name, `${file}.safetensors`))

function loaded(
  adapter: string,
  name: string,
  isTransposed = name.endsWith('-transposed'),
): ReadonlyMap<string, Tensor> {
  const classes: Record<string, string> = JSON.parse(
    readFileSync(join(FIXTURES, name, 'classes.json'), 'utf8'),
  )
  const { weights, missing, unexpected } = mergePeft(fileOf(name, 'base'), loadPeftAdapter(adapter), {
    classOf: (path) => CLASSES[classes[path]] ?? 'other',
    expertsAreTransposed: isTransposed,
  })
  expect({ missing, unexpected }).toEqual({ missing: [], unexpected: [] })
  return weights
}

function expectClose(found: ReadonlyMap<string, Tensor>, wanted: (name: string, i: number) => number): void {
  for (const [name, { data }] of found) {
    const worst = data.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted(name, i))), 0)
    expect(worst, name).toBeLessThan(FLOAT32)
  }
}

test.each(NAMES)('%s', async (name) => {
  const adapter = join(FIXTURES, name)
  const base = ['--base', join(adapter, 'base.safetensors')]
  const expected = fileOf(name, 'merged')
  const half =
    name === 'saved'
      ? []
      : [
          [adapter, adapter, '--weights=0.25,0.75'],
          [adapter, adapter, adapter, '--weights=1,1,-1'],
        ]
  for (const args of [
    ['resize', adapter, '--rank=20'],
    ['resize', adapter, '--rank=20', '--layout=pattern', ...base],
    ['merge', adapter, '--layout=pattern'],
    ...half.map((given) => ['merge', ...given, '--layout=pattern', ...base]),
  ]) {
    const out = fresh()
    await combined(args[0] as 'resize' | 'merge', [...args.slice(1), '-o', out])
    expectClose(loaded(out, name), (tensor, i) => expected.get(tensor)!.data[i])
  }
})

/** All are of one model, but for how its experts lie; each pair in one of its orders. */
const PAIRS = NAMES.flatMap((one, i) =>
  NAMES.slice(i + 1).map((other, j) =>
    (i + j) % 2 === 0 ? ([one, other] as const) : ([other, one] as const),
  ),
)
const ofExperts = (pair: readonly string[]) => pair.every((name) => name.startsWith('experts'))
/** One of the two replaces the head that the other changes. */
const isContrary = (pair: readonly string[]) =>
  pair.includes('saved') && pair.some((name) => name === 'plain' || name === 'regex')

test.each(PAIRS.filter((pair) => !ofExperts(pair)))('%s and %s', async (...pair) => {
  const [one, other] = pair
  const out = fresh()
  const weights = pair.includes('saved') ? [1, 1] : [1, -0.5]
  const paths = pair.map((name) => join(FIXTURES, name))
  const args = [
    ...paths,
    `--weights=${weights.join()}`,
    '-o',
    out,
    '--layout',
    count % 2 === 0 ? 'portable' : 'pattern',
  ]
  if (isContrary(pair)) {
    expect(await refused(['merge', ...args])).toMatch(
      /"base_model\.model\.lm_head\.weight" takes the place of the weight/,
    )
    return
  }
  await combined('merge', args)
  const [base, a, b] = [fileOf(one, 'base'), fileOf(one, 'merged'), fileOf(other, 'merged')]
  expectClose(loaded(out, one, pair.includes('experts-transposed')), (name, i) => {
    const before = base.get(name)!.data[i]
    return (
      before + weights[0] * (a.get(name)!.data[i] - before) + weights[1] * (b.get(name)!.data[i] - before)
    )
  })
})
