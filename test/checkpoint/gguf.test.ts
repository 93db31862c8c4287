import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { matricesOf } from '../../src/checkpoint/matrices.ts'
import { sameNumbers } from '../../src/checkpoint/models.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { quantisationOf } from '../../src/checkpoint/quantised.ts'
import { forEachChunk, readWeight } from '../../src/checkpoint/read.ts'
import { readMatrix, readMatrixFromAny } from '../../src/checkpoint/read-matrix.ts'
import { widenHalf } from '../../src/linalg/matrix/half.ts'
import { readFloats } from '../../src/lora/factors.ts'
import { errorOf } from '../formats/fixtures.ts'
import { ggufBytes, ggufFixture } from '../formats/gguf-support.ts'
import { checkpoint, folderOf } from './support.ts'

const every = ggufFixture('every.gguf')

async function* oneOf(bytes: Uint8Array) {
  yield bytes
}

describe('a GGUF file as a checkpoint', () => {
  test('its matrices, under the names and types that it stores', async () => {
    const opened = await openCheckpoint(every)
    expect(opened.isGguf).toBe(true)
    expect(opened.metadata.get('general.architecture')).toBe('llama')
    const { matrices, skipped } = matricesOf(opened)
    expect(matrices.map(({ name, dtype, rows, columns }) => [name, dtype, rows, columns])).toEqual([
      ['blk.0.attn_q.weight', 'q8_0', 3, 64],
      ['blk.0.attn_k.weight', 'q4_0', 5, 64],
      ['blk.0.attn_v.weight', 'q4_k', 4, 512],
      ['blk.0.attn_output.weight', 'q6_k', 8, 256],
      ['blk.0.ffn_gate_exps.weight[0]', 'q8_0', 3, 32],
      ['blk.0.ffn_gate_exps.weight[1]', 'q8_0', 3, 32],
      ['blk.0.ffn_up.weight', 'f16', 3, 5],
      ['blk.0.ffn_down.weight', 'bf16', 5, 3],
      ['token_embd.weight', 'f32', 7, 2],
      ['output.weight', 'f64', 2, 3],
    ])
    expect(skipped.map(({ name }) => name)).toEqual(['blk.0.attn_norm.weight', 'rope_factors'])
  })

  test('each expert of a stack in blocks is its part of the whole', async () => {
    const opened = await openCheckpoint(every)
    const stack = await readFloats(opened.tensors.get('blk.0.ffn_gate_exps.weight')!)
    const { matrices } = matricesOf(opened, { include: ['*exps*'] })
    expect(matrices).toHaveLength(2)
    for (const [i, matrix] of matrices.entries()) {
      const { data } = await readWeight(matrix)
      expect(Array.from(data)).toEqual(Array.from(stack.subarray(96 * i, 96 * (i + 1))))
    }
  })

  test('rows of blocks alone, and all numbers in chunks', async () => {
    const tensor = (await openCheckpoint(every)).tensors.get('blk.0.attn_v.weight')!
    const whole = await readFloats(tensor)
    expect(whole).toBeInstanceOf(Float32Array)
    expect(Array.from(await readFloats(tensor, 1024, 1536))).toEqual(Array.from(whole.subarray(1024, 1536)))
    const seen: number[] = []
    expect(await forEachChunk(tensor, (numbers) => void seen.push(...numbers))).toBe(true)
    expect(seen).toEqual(Array.from(whole))
  })

  test('the same numbers in blocks and as floats are the same', async () => {
    const tensor = (await openCheckpoint(every)).tensors.get('blk.0.attn_output.weight')!
    const data = await readFloats(tensor)
    const same = await checkpoint({ w: ['F32', tensor.shape, data] })
    expect(await sameNumbers(tensor, same.tensors.get('w')!)).toBe(true)
    const other = await checkpoint({ w: ['F32', tensor.shape, data.map((x, i) => (i === 2000 ? x + 1 : x))] })
    expect(await sameNumbers(tensor, other.tensors.get('w')!)).toBe(false)
  })

  test('from standard input', async () => {
    const piped = await openCheckpoint('-', { stdin: oneOf(ggufBytes('every.gguf')) })
    const filed = await openCheckpoint(every)
    for (const [name, tensor] of filed.tensors) {
      expect(await sameNumbers(tensor, piped.tensors.get(name)!)).toBe(true)
    }
  })

  test('one matrix by its name', async () => {
    for (const read of [readMatrix, readMatrixFromAny]) {
      const { matrix, dtype, name } = await read(every, { tensor: 'blk.0.attn_k.weight' })
      expect([name, dtype, matrix.rows, matrix.columns]).toEqual(['blk.0.attn_k.weight', 'q4_0', 5, 64])
      const half = await read(every, { tensor: 'blk.0.ffn_up.weight' })
      const stored = await readWeight(
        matricesOf(await openCheckpoint(every), { include: ['*ffn_up*'] }).matrices[0],
      )
      expect(half.matrix.data).toEqual(widenHalf(stored.data as Uint16Array, 'f16'))
      const error = await errorOf(() => read(every))
      expect(error.message).toContain(
        'holds 10 matrices; choose one with --tensor: "blk.0.attn_q.weight" Q8_0 [3, 64]',
      )
    }
  })

  test('what is not read is skipped with the reason, and is quantised', async () => {
    const opened = await openCheckpoint(ggufFixture('unread.gguf'))
    const { matrices, skipped } = matricesOf(opened)
    expect(matrices.map(({ name }) => name)).toEqual(['blk.0.ffn_up.weight'])
    expect(skipped).toEqual([
      {
        name: 'blk.0.ffn_down.weight',
        reason:
          'quantised: stored as Q5_K, which is not read; Q8_0, Q4_0, Q4_K and Q6_K are: quantise the model to one of those',
      },
    ])
    expect(quantisationOf(opened)).toEqual({ method: 'GGUF (Q5_K)', tensor: 'blk.0.ffn_down.weight' })
    const read = readMatrix(ggufFixture('unread.gguf'), { tensor: 'blk.0.ffn_down.weight' })
    await expect(read).rejects.toThrow('stored as Q5_K, which is not read')
  })

  test('under another name, and its blocks show that it is quantised', async () => {
    const folder = folderOf({ model: ggufBytes('every.gguf') })
    const opened = await openCheckpoint(join(folder, 'model'))
    expect(opened.tensors.size).toBe(11)
    expect(quantisationOf(opened)).toEqual({ method: 'GGUF (Q8_0)', tensor: 'blk.0.attn_q.weight' })
  })
})
