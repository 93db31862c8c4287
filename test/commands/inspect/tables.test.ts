import { stripVTControlCharacters } from 'node:util'
import { Chalk } from 'chalk'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { placeOf } from '../../../src/commands/inspect/html/format.ts'
import { plotText } from '../../../src/commands/inspect/plot.ts'
import type { InspectResult } from '../../../src/commands/inspect/result.ts'
import { spectrumSvg } from '../../../src/commands/inspect/svg.ts'
import { inspectTables } from '../../../src/commands/inspect/text/text.ts'
import { fittedName, namePattern, withoutPattern } from '../../../src/text/names.ts'
import { knownColumns } from '../../text/wide-text.ts'
import { anyResult } from './any-result.ts'
import {
  adapterResult,
  bigResult,
  digitsLlama,
  digitsResult,
  leadingSpectrum,
  mixedResult,
  powerLaw,
  reportOf,
  resultOf,
  wholeSpectrum,
} from './sample-results.ts'

const painted = (result: InspectResult, columns: number) =>
  inspectTables(result, { paint: new Chalk({ level: 1 }), columns })
const plain = (result: InspectResult, columns = 80) =>
  inspectTables(result, { paint: new Chalk({ level: 0 }), columns })
const flowing = (text: string) => text.replace(/\s+/g, ' ')
const widest = (text: string) =>
  Math.max(...text.split('\n').map((line) => stripVTControlCharacters(line).length))
/** The titles of the list of matrices. */
const titles = (text: string) => /^name .*$/m.exec(text)![0].split(/ {2,}/)

describe('no line is wider than the terminal', () => {
  test.each([
    ['deltas', digitsResult()],
    ['a big model', bigResult(2)],
    ['an adapter', adapterResult()],
    ['all that can be wrong', mixedResult()],
    ['one delta', { ...mixedResult(), matrices: mixedResult().matrices.slice(4) }],
  ])('%s', (_, result) => {
    for (let columns = 40; columns <= 220; columns += 5) {
      expect(widest(painted(result, columns))).toBeLessThanOrEqual(columns)
    }
  })

  test('whatever the result', () => {
    fc.assert(
      fc.property(anyResult, fc.integer({ min: 40, max: 220 }), (result, columns) => {
        expect(widest(painted(result, columns))).toBeLessThanOrEqual(columns)
      }),
    )
  })

  test('colour changes nothing but colour', () => {
    fc.assert(
      fc.property(anyResult, fc.integer({ min: 40, max: 220 }), (result, columns) => {
        expect(stripVTControlCharacters(painted(result, columns))).toBe(plain(result, columns))
      }),
      { numRuns: 50 },
    )
  })
})

test('names of wide letters and emoji leave the columns where they are', () => {
  const names = ['層.注', 'プ.layer', '🇨🇭.한', 'e\u0301.0', 'Ａ.'.repeat(30)]
  const spectrum = wholeSpectrum(30, 20, powerLaw(20, 1))
  const result = resultOf(
    'weights',
    names.map((name) => reportOf(name, spectrum)),
  )
  for (let columns = 60; columns <= 200; columns += 20) {
    const lines = plain(result, columns).split('\n')
    const head = lines.findIndex((line) => line.startsWith('name'))
    const at = (line: string) => knownColumns(line.slice(0, line.indexOf('30 × 20')))
    const rows = lines.slice(head + 2, head + 2 + names.length)
    expect(new Set(rows.map(at)).size).toBe(1)
    for (const row of rows) expect(knownColumns(row)).toBeLessThanOrEqual(columns)
  }
})

describe('a name of 100,000 characters', () => {
  const long = 'layer.'.repeat(16_667)
  const spectrum = wholeSpectrum(30, 20, powerLaw(20, 1))

  test.each([
    ['in the list', [reportOf(long, spectrum), reportOf('short', spectrum)]],
    ['by itself', [reportOf(long, spectrum)]],
    ['of its dtype', [reportOf('a', spectrum, { dtype: long })]],
  ])('is drawn without delay, on few lines: %s', (_, matrices) => {
    const text = plain(resultOf('weights', matrices))
    // a dtype has no end that tells more than its beginning: it is wrapped
    expect(text.split('\n').length).toBeLessThan(matrices[0].dtype === long ? 2200 : 60)
    expect(widest(text)).toBeLessThanOrEqual(80)
  })

  test('is drawn without delay in notes, plots and pictures', () => {
    const report = reportOf(long, spectrum)
    const notes = {
      unchanged: [long, long],
      skipped: [{ name: long, reason: 'one-dimensional' }],
      nonFinite: [{ name: long, file: 'a', count: 1, first: { row: 1, column: 1, value: 'NaN' } }],
    }
    expect(plain(resultOf('delta', [report], notes)).split('\n').length).toBeLessThan(90)
    expect(plotText(report, { paint: new Chalk({ level: 0 }), columns: 80 }).split('\n').length).toBeLessThan(
      30,
    )
    expect(spectrumSvg(resultOf('weights', [report])).length).toBeLessThan(4 * long.length)
    expect(placeOf(`model.0.x${'.weight'.repeat(50_000)}`)).toMatchObject({ layer: '0', projection: 'x' })
  })
})

describe('a matrix of which the leading values are known', () => {
  const truth = powerLaw(256, 0.1, 10)
  const S = truth.slice(0, 8).map((s, i) => s * (1 - 0.05 * (i + 1)))
  const { frobenius, ...whole } = wholeSpectrum(256, 256, truth)
  const missed = truth.slice(0, 8).reduce((sum, s, i) => sum + s * s - S[i] ** 2, 0)
  const spectrum = {
    ...leadingSpectrum({ ...whole, frobenius }, 8, missed / frobenius ** 2),
    singularValues: S,
    upper: truth.slice(0, 8).map((s) => s * 1.1001),
  }

  test('shows values, norm and stable rank by both ends where they are not tight', () => {
    const text = flowing(plain(resultOf('weights', [reportOf('w', spectrum)]), 120))
    expect(text).toContain('│ 9.499 … 11.01 │')
    expect(text).toMatch(/│ ‖·‖₂ │ 9\.499 … 11\.01 │/)
    expect(text).toMatch(/│ stable rank │ \d+–\d+ │/)
    expect(text).toContain('│ ≥ ')
  })

  test('in the list too, and as one figure where the ends agree', () => {
    const known = { ...spectrum, singularValues: truth.slice(0, 8), upper: truth.slice(0, 8), excess: 0 }
    const text = plain(resultOf('weights', [reportOf('loose', spectrum), reportOf('tight', known)]), 200)
    expect(/^loose .*$/m.exec(text)![0]).toContain('9.49 … 11.1')
    expect(/^tight .*$/m.exec(text)![0]).toMatch(/ 10\.0 /)
  })

  test('marks the values that are rounding', () => {
    const S = Float64Array.of(3, 2, 1e-9, 1e-10)
    const lines = plain(resultOf('weights', [reportOf('w', wholeSpectrum(4, 9, S))])).split('\n')
    expect(lines.filter((line) => line.includes('rounding')).map((line) => line.slice(0, 5))).toEqual([
      '│ 3 │',
      '│ 4 │',
    ])
  })
})

describe('the list of matrices', () => {
  test('shows NumPy’s ranks for 50, 90, 95 and 99 % of real deltas, and their other figures', () => {
    const lines = plain(digitsResult(), 200).split('\n')
    for (const [name, reference] of Object.entries(digitsLlama)) {
      const shortName = name.replace(/^model\.layers\.(.*)\.weight$/, '$1')
      const cells = lines.find((line) => line.startsWith(`${shortName} `))!.split(/ {2,}/)
      const { '0.5': r50, '0.9': r90, '0.95': r95, '0.99': r99 } = reference.rank_for_energy
      expect(cells.slice(10, 14)).toEqual([r50, r90, r95, r99].map(String))
      expect(cells.slice(1, 7)).toEqual([
        reference.shape.join(' × '),
        'f32',
        reference.delta_frobenius.toPrecision(3),
        reference.delta_singular_values[0].toPrecision(3),
        (reference.delta_frobenius / reference.base_frobenius).toPrecision(3),
        String(reference.delta_matrix_rank_f32),
      ])
      expect(cells.slice(8, 10)).toEqual([
        reference.stable_rank.toFixed(1),
        reference.effective_rank.toFixed(1),
      ])
    }
  })

  test('leaves out the least telling columns, and says which and how to see them', () => {
    expect(titles(plain(digitsResult(), 80))).toEqual([
      'name',
      'change',
      'rank',
      '90 %',
      '99 %',
      'spectrum',
      'verdict',
    ])
    expect(titles(plain(adapterResult(), 80))).toEqual([
      'name',
      'nominal',
      'rank',
      'wasted',
      '90 %',
      '99 %',
      'spectrum',
      'verdict',
    ])
    const text = flowing(plain(digitsResult(), 80))
    expect(text).toContain(
      'not shown: shape, dtype, ‖·‖_F, ‖·‖₂, > noise, stable, effective, 50 %, 95 % (a terminal of',
    )
  })

  test.each([digitsResult(), bigResult(1), adapterResult(), mixedResult()])(
    'shows all at the width that it says, and not at one less (%#)',
    (result) => {
      const columns = Number(/a terminal of (\d+) columns/.exec(flowing(plain(result, 60)))![1])
      expect(plain(result, columns)).not.toContain('not shown')
      for (const { name } of result.matrices) expect(plain(result, columns)).toContain(name.split('.').at(-2))
      expect(
        `${plain(result, columns - 1).includes('not shown')} ${plain(result, columns - 1).includes('…')}`,
      ).toContain('true')
    },
  )

  test('marks what is only known in part', () => {
    const text = plain(bigResult(1), 200)
    expect(text).toMatch(/0\.self_attn\.q_proj .* ≥ \d+ .* ≥ 717 .*[▁▂▃▄▅▆▇█]{10,}… {2}not low-rank/)
    expect(text).toContain('…: the leading 64 at most were computed, all with --full')
  })
})

describe('one matrix', () => {
  test('gets its spectrum and every figure', () => {
    const result = mixedResult()
    const text = flowing(plain({ ...result, matrices: [result.matrices[0]] }))
    for (const fact of [
      'energy so far',
      '│ matrix │ model.layers.0.self_attn.q_proj.weight │',
      '│ shape │ 256 × 1,024 │',
      '│ relative change │ 0.0100 (the base: 45.0, bf16) │',
      '│ numerical rank │ 256 of 256 │',
      '│ rank for 99 % of ‖·‖_F² │ 222 of 256 │',
      '│ noise floor │ 0.500 │',
      '│ rank above the noise │ 8 of 256 │',
      '│ entries that changed │ 93 % │',
    ]) {
      expect(text).toContain(fact)
    }
  })

  test('of zeros has no spectrum', () => {
    const result = mixedResult()
    const text = plain({ ...result, matrices: [result.matrices[3]] })
    expect(text).not.toContain('energy so far')
    expect(text).toContain('all zero: base and tuned are equal')
  })

  test('says what needs --full', () => {
    const text = flowing(plain({ ...bigResult(1), matrices: bigResult(1).matrices.slice(0, 1) }))
    expect(text).toContain('│ effective rank │ needs all singular values: --full │')
    expect(text).toContain('│ rank for 90 % of ‖·‖_F² │ 717–1,823 of 2,048 │')
  })
})

describe('around it', () => {
  test('what ranks cost, up to the first that leaves nothing, the recommended one marked', () => {
    const text = plain(digitsResult())
    expect(text).toMatch(/^ +16 +0\.254 +27\.1 % +358 KiB +91,520 {2}█+░+$/m)
    expect(text).toMatch(/^▸ 32 /m)
    expect(text).toMatch(/^ 128 +0 /m)
    expect(text).not.toMatch(/^ 256 /m)
    expect(text).toContain('Recommended: rank 32. It is the least tabulated rank that keeps 97 % of the')
    expect(plain(bigResult(1))).toMatch(/^ *256 +0\.\d+ … 0\.\d+ /m)
  })

  test('what was left out, by reason, and what is wrong, with its place', () => {
    const text = flowing(plain(mixedResult()))
    expect(text).toContain(
      'tuned/model-00002-of-00003.safetensors: model.layers.3.mlp.down_proj.weight: 3 entries NaN or infinite, the first (NaN) at row 17, column 4',
    )
    expect(text).toContain('Warning: the two checkpoints name different architectures in config.json')
    expect(text).toContain(
      'Equal in both: 12 tensors (model.layers.0.mlp.up_proj.weight, model.layers.1.mlp.up_proj.weight, model.layers.2.mlp.up_proj.weight, and 9 more).',
    )
    expect(text).toContain(
      'Skipped, one-dimensional: 2 tensors (model.norm.weight, model.layers.0.input_layernorm.weight).',
    )
  })

  test('the scales of loaders that differ, and nothing of them where they agree', () => {
    const text = flowing(plain(adapterResult()))
    expect(text).toContain('PEFT 12 2 vLLM 8 2 4 1 instead of 2 llama.cpp 8 2 4 1 instead of 2')
    expect(text).toContain('TensorRT-LLM 12 not loaded: does not load rank_pattern together with use_rslora')
    expect(plain(adapterResult(4, false))).not.toContain('loader')
  })

  test('an empty result is said to be one', () => {
    expect(plain(resultOf('delta', [], { unchanged: ['a.weight'] }))).toContain(
      'All matrices that were compared are equal in both.',
    )
  })
})

describe('names', () => {
  test('lose what most of them share', () => {
    const names = [
      'lm_head.weight',
      'model.layers.0.a.weight',
      'model.layers.11.b.weight',
      'model.layers.1.c.weight[3]',
    ]
    const pattern = namePattern(names)
    expect(pattern).toEqual({ prefix: 'model.layers.', suffix: '.weight' })
    expect(names.map((name) => withoutPattern(name, pattern))).toEqual([
      'lm_head.weight',
      '0.a',
      '11.b',
      'model.layers.1.c.weight[3]',
    ])
  })
  test('stay whole where few share anything', () => {
    expect(namePattern(['a.0.b', 'c', 'd'])).toEqual({ prefix: '', suffix: '' })
    expect(namePattern([])).toEqual({ prefix: '', suffix: '' })
    expect(namePattern(['a.0.b', 'a.c', 'c'])).toEqual({ prefix: '', suffix: '' })
  })
  test('of several kinds of blocks lose what stands before all of them', () => {
    const unet = ['input_blocks.1.0.op', 'middle_block.0.proj', 'output_blocks.2.0.proj']
    expect(namePattern(unet.map((name) => `model.unet.${name}.weight`))).toEqual({
      prefix: 'model.unet.',
      suffix: '.weight',
    })
    const half = ['input_blocks.1.a', 'input_blocks.2.a', 'middle_block.0.a', 'middle_block.1.a']
    expect(namePattern(half.map((name) => `unet.${name}`)).prefix).toBe('unet.')
  })
  test('that are distinct stay distinct', () => {
    fc.assert(
      fc.property(anyResult, ({ matrices }) => {
        const names = [...new Set(matrices.map(({ name }) => name))]
        const pattern = namePattern(names)
        const shortened = names.map((name) => withoutPattern(name, pattern))
        expect(new Set(shortened).size).toBe(names.length)
      }),
    )
  })
  test('that are too long lose their middle', () => {
    expect(fittedName('0.self_attn.q_proj', 12)).toBe('0.s…n.q_proj')
    expect(fittedName('0.self_attn.q_proj', 18)).toBe('0.self_attn.q_proj')
  })
})
