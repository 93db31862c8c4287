import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { matricesOf, viewOf } from '../../src/checkpoint/matrices.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { readBytes, readWeight } from '../../src/checkpoint/read.ts'
import { errorOf } from '../formats/fixtures.ts'
import { checkpoint, fixture, folderOf, safetensors } from './support.ts'

describe('how a shape is seen', () => {
  test.each([
    ['a.weight', [4, 6], { kind: 'matrix', rows: 4, columns: 6 }],
    ['a.weight', [1, 6], { kind: 'matrix', rows: 1, columns: 6 }],
    ['a.weight', [4, 3, 3, 3], { kind: 'conv', rows: 4, columns: 27 }],
    ['a.weight', [4, 6, 1, 1], { kind: 'conv', rows: 4, columns: 6 }],
    ['a.weight', [4, 3, 2, 5, 5], { kind: 'conv', rows: 4, columns: 150 }],
    ['encoder.conv1.weight', [512, 80, 32], { kind: 'conv', rows: 512, columns: 2560 }],
    ['mixer.conv1d.weight', [8, 1, 4], { kind: 'conv', rows: 8, columns: 4 }],
    ['a.weight', [8, 4, 16], { kind: 'conv', rows: 8, columns: 64 }],
    ['a.weight', [8, 4, 17], { kind: 'expert', count: 8, rows: 4, columns: 17 }],
    ['mlp.experts.gate_up_proj', [8, 64, 96], { kind: 'expert', count: 8, rows: 64, columns: 96 }],
    ['pos_embed', [1, 197, 768], { kind: 'matrix', rows: 197, columns: 768 }],
    ['cls_token', [1, 1, 768], { kind: 'none', reason: 'a vector' }],
    ['norm.weight', [1, 64, 1, 1], { kind: 'none', reason: 'a vector' }],
    ['a.bias', [4], { kind: 'none', reason: 'a vector' }],
    ['logit_scale', [], { kind: 'none', reason: 'a single number' }],
    ['a.weight', [4, 0], { kind: 'none', reason: 'no entries' }],
    [
      'a.weight',
      [2, 2, 2, 2, 2, 2],
      { kind: 'none', reason: '6 dimensions, which no matrix can be made of' },
    ],
  ])('%s %j', (name, shape, view) => expect(viewOf(name, shape)).toEqual(view))
})

const counting = (n: number) => Float32Array.from({ length: n }, (_, i) => i - 7)

describe('the matrices of a checkpoint', () => {
  test('a kernel is one, a stack of experts one for each, and each is read from its own bytes', async () => {
    const opened = await checkpoint({
      'a.conv.weight': ['F32', [2, 3, 2, 2], counting(24)],
      experts: ['BF16', [3, 2, 20], counting(120)],
      plain: ['F64', [2, 2], Float64Array.of(1 / 3, 2, 3, 4)],
    })
    const { matrices, skipped } = matricesOf(opened)
    expect(skipped).toEqual([])
    expect(
      matrices.map(({ name, tensor, view, rows, columns, dtype, bytes, storedShape }) => [
        name,
        tensor,
        view,
        rows,
        columns,
        dtype,
        bytes,
        storedShape,
      ]),
    ).toEqual([
      ['plain', 'plain', 'matrix', 2, 2, 'f64', 32, [2, 2]],
      ['a.conv.weight', 'a.conv.weight', 'conv', 2, 12, 'f32', 96, [2, 3, 2, 2]],
      ['experts[0]', 'experts', 'expert', 2, 20, 'bf16', 80, [3, 2, 20]],
      ['experts[1]', 'experts', 'expert', 2, 20, 'bf16', 80, [3, 2, 20]],
      ['experts[2]', 'experts', 'expert', 2, 20, 'bf16', 80, [3, 2, 20]],
    ])
    expect(await readWeight(matrices[0])).toEqual({
      rows: 2,
      columns: 2,
      data: Float64Array.of(1 / 3, 2, 3, 4),
    })
    expect(await readWeight(matrices[1])).toEqual({ rows: 2, columns: 12, data: counting(24) })
    const whole = await readBytes(opened.tensors.get('experts')!)
    for (const [i, expert] of matrices.slice(2).entries()) {
      const { data } = await readWeight(expert)
      expect(Buffer.from(data.buffer, data.byteOffset, data.byteLength)).toEqual(
        Buffer.from(whole.subarray(80 * i, 80 * (i + 1))),
      )
    }
  })

  test('the same from standard input, where nothing can be read twice', async () => {
    const bytes = await safetensors({ experts: ['F32', [3, 2, 20], counting(120)] })
    const opened = await openCheckpoint('-', { stdin: [bytes] as never })
    const { matrices } = matricesOf(opened)
    expect((await readWeight(matrices[1])).data).toEqual(counting(120).slice(40, 80))
  })

  test('what is none is skipped, with the reason', async () => {
    const { matrices, skipped } = matricesOf(
      await checkpoint({
        'a.bias': ['F32', [4]],
        ids: ['I64', [2, 2]],
        mask: ['BOOL', [2, 2]],
        'b.weight': ['F8_E4M3FNUZ', [2, 2]],
        'c.weight': ['F4', [2, 2], new Uint8Array(2)],
        none: ['F32', [0, 4]],
        'q.qweight': ['I32', [2, 4]],
        'q.qzeros': ['I32', [1, 1]],
        'q.scales': ['F16', [2, 4]],
        'n.weight': ['U8', [8, 1]],
        'n.weight.absmax': ['F32', [2, 2]],
        'e.down_blocks': ['U8', [2, 4, 2, 16]],
        'e.down_scales': ['U8', [2, 4, 2]],
        'real.weight': ['F32', [2, 2]],
      }),
    )
    expect(matrices.map(({ name }) => name)).toEqual(['real.weight'])
    expect(Object.fromEntries(skipped.map(({ name, reason }) => [name, reason]))).toEqual({
      'a.bias': 'a vector',
      ids: 'stored as I64, which is no float type',
      mask: 'stored as BOOL, which is no float type',
      'b.weight': 'stored as F8_E4M3FNUZ, which is not read; convert it to F16 or BF16',
      'c.weight': 'stored as F4, which is not read; convert it to F16 or BF16',
      none: 'no entries',
      'q.qweight': 'quantised: stored as I32, with "q.scales" beside it; dequantise it first',
      'q.qzeros': 'the scales of "q.qweight"',
      'q.scales': 'the scales of "q.qweight"',
      'n.weight': 'quantised: stored as U8, with "n.weight.absmax" beside it; dequantise it first',
      'n.weight.absmax': 'the scales of "n.weight"',
      'e.down_blocks': 'quantised: stored as U8, with "e.down_scales" beside it; dequantise it first',
      'e.down_scales': 'the scales of "e.down_blocks"',
    })
  })

  test('those of the filter', async () => {
    const opened = await openCheckpoint(fixture('digits-llama/tuned-bf16-sharded'))
    const { matrices, skipped, warnings } = matricesOf(opened, {
      include: ['*.layers.1.*'],
      exclude: ['*mlp*', 'nothing*'],
    })
    expect(matrices.map(({ name }) => name.replace('model.layers.1.self_attn.', ''))).toEqual([
      'k_proj.weight',
      'o_proj.weight',
      'q_proj.weight',
      'v_proj.weight',
    ])
    expect(skipped).toHaveLength(2)
    expect(warnings).toEqual([expect.stringContaining('matches --exclude "nothing*"')])
    const error = await errorOf(() => matricesOf(opened, { include: ['q_proj'] }))
    expect(error.message).toContain('did you mean "*q_proj*"?')
  })
})

describe('F8', () => {
  const F8 = ['F8_E4M3', [2, 2], Uint8Array.of(0x38, 0xb8, 0x7e, 0x01)] as const

  test('that stands for itself is widened', async () => {
    const opened = await checkpoint({
      'a.weight': F8,
      'b.weight': ['F8_E5M2', [1, 2], Uint8Array.of(0x3c, 0x7b)],
    })
    const [b, a] = [...matricesOf(opened).matrices].sort((x, y) => x.rows - y.rows)
    expect(a).toMatchObject({ dtype: 'f8_e4m3', bytes: 4 })
    expect(await readWeight(a)).toEqual({ rows: 2, columns: 2, data: Float32Array.of(1, -1, 448, 2 ** -9) })
    expect(await readWeight(b)).toEqual({ rows: 1, columns: 2, data: Float32Array.of(1, 57344) })
  })

  test.each([
    ['a.weight', 'a.weight_scale_inv'],
    ['a.weight', 'a.weight_scale'],
    ['a.weight', 'a.weight_scale_2'],
    ['a.weight', 'a.weight.scale'],
    ['a.weight', 'a.scale_weight'],
    ['a.weight', 'a.scale'],
    ['experts.gate_up_proj', 'experts.gate_up_proj_scale_inv'],
    ['experts.gate_up_proj', 'experts.gate_up_proj_scale'],
  ])('%s beside %s is refused, unless it is left out', async (name, scale) => {
    const opened = await checkpoint({ [name]: F8, [scale]: ['F32', [2, 2]], 'x.weight': ['F32', [1, 2]] })
    const error = await errorOf(() => matricesOf(opened))
    expect(error).toMatchObject({ code: 'bad-input', file: opened.path, tensor: name })
    expect(error.message).toBe(
      `${opened.path}: tensor "${name}" is stored as F8_E4M3, which means nothing without its scales in "${scale}"; dequantise the checkpoint first, or leave the tensor out with --exclude "${name}"`,
    )
    const { matrices, skipped } = matricesOf(opened, { exclude: [name] })
    expect(matrices.map((matrix) => matrix.name)).toEqual(['x.weight'])
    expect(skipped).toEqual([{ name: scale, reason: `the scales of "${name}"` }])
  })

  test('the scale of its input changes nothing', async () => {
    const opened = await checkpoint({
      'a.weight': F8,
      'a.input_scale': ['F32', [1]],
      'a.scale_input': ['F32', []],
    })
    expect(matricesOf(opened).matrices).toHaveLength(1)
  })
})

test('text is read again where its matrix is wanted', async () => {
  const folder = folderOf({ 'W.csv': '1,2\n3,4\n' })
  const { matrices } = matricesOf(await openCheckpoint(join(folder, 'W.csv')))
  expect(matrices[0]).toMatchObject({ name: 'W.csv', source: { kind: 'file' }, dtype: 'f64' })
  expect((await readWeight(matrices[0])).data).toEqual(Float64Array.of(1, 2, 3, 4))
})
