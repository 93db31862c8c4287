import { expect, test } from 'vitest'
import { leftText, nothingToCarry, whyNothing } from '../../../src/commands/extract/sentences.ts'
import { aboveNoise } from '../../../src/compress/layer-result.ts'
import { type Matrix, matrix } from '../../../src/linalg/matrix/matrix.ts'
import { addMultiple } from '../../../src/linalg/matrix/norms.ts'
import type { NoiseFloor } from '../../../src/linalg/spectrum/noise-floor.ts'
import type { RankLimits, RankRule } from '../../../src/linalg/spectrum/rules.ts'
import type { Spectrum } from '../../../src/linalg/spectrum/spectrum.ts'
import { truncatedSvd } from '../../../src/linalg/truncation/truncated-svd.ts'
import { plantedPair } from '../../linalg/spectrum/planted.ts'
import { counted } from '../../linalg/spectrum/planted-count.ts'
import { wasmEngine } from '../../linalg/truncation/engines.ts'

const frobeniusOf = ({ data }: Matrix) =>
  Math.sqrt(Float64Array.from(data, (x) => x * x).reduce((a, b) => a + b, 0))

function extracted(delta: Matrix, noise: NoiseFloor | undefined, limits: RankLimits = {}) {
  let calls = 0
  const truncate = (rule: RankRule, limits: RankLimits) => {
    calls++
    return truncatedSvd(delta, rule, { engine: wasmEngine, limits, name: 'w', seed: 1 })
  }
  return { ...aboveNoise(truncate, noise, delta, frobeniusOf(delta), limits), calls }
}

test('leading values settle the same floor as all of them, and carry what stands above it', () => {
  for (const [ofBase, ofTuned] of [
    ['bf16', 'bf16'],
    ['bf16', 'f32'],
  ] as const) {
    const pair = plantedPair(384, 256, { ofBase, ofTuned, isExact: true, rank: 8, strength: 1, seed: 3 })
    const { settled, noise } = counted(pair, ofBase, ofTuned)
    const { found, isNotUnderstood, calls } = extracted(addMultiple(pair.tuned, pair.base, -1), noise)
    expect([found.rank, settled]).toEqual([8, 8])
    expect(isNotUnderstood).toBe(false)
    expect(calls).toBeLessThan(6)
  }
})

/** Few entries moved, each by one unit, nowhere in particular. */
function scattered(): { delta: Matrix; noise: NoiseFloor } {
  const delta = matrix(64, 64, new Float64Array(64 * 64))
  for (let i = 0; i < 64; i++) {
    for (const step of [1, 9, 27, 40])
      delta.data[64 * i + ((i * 29 + step * step) % 64)] = step % 2 ? 1e-4 : -1e-4
  }
  const floor = 0.01
  return { delta, noise: { floor, spread: 0.25, edge: floor / 1.25, changedShare: 1 / 16, isSubUlp: true } }
}

test('where most entries did not move and nothing stands out, the leading direction is carried, and it is said', () => {
  const { delta, noise } = scattered()
  expect(extracted(delta, noise)).toMatchObject({ isNotUnderstood: true, found: { rank: 1 } })
  const moved = { ...noise, isSubUlp: false }
  expect(extracted(delta, moved)).toMatchObject({ isNotUnderstood: false, found: { rank: 0 } })
  expect(extracted(delta, noise, { minRank: 2 }).found.rank).toBe(2)
})

test('numbers that aren’t rounded have no floor', () => {
  const { delta } = scattered()
  expect(extracted(delta, undefined)).toMatchObject({ floor: 0, isNotUnderstood: false })
})

const layer = (frobenius: number, kind: 'noise-floor' | 'rank', isNotUnderstood = false) => ({
  spectrum: { frobenius } as Spectrum,
  asked: { rule: kind === 'rank' ? { kind, rank: 2 } : { kind }, limits: {} },
  isNotUnderstood,
})

test('why nothing of a layer is carried is said by its cause', () => {
  const why = (...given: Parameters<typeof layer>) => leftText({ because: whyNothing(layer(...given)) })
  expect(why(0, 'rank')).toBe('the same numbers in both')
  expect(why(1, 'noise-floor')).toBe('nothing of it stands above the rounding of the stored dtypes')
  expect(why(1, 'noise-floor', true)).toMatch(/^most of its entries did not move/)
  expect(nothingToCarry([]).message).toMatch(/^nothing is left to factor/)
  expect(nothingToCarry([layer(0, 'rank')]).message).toContain(
    'no layer has a rank above 0: the same numbers in both',
  )
})
