import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { readSafetensorsFile, type Tensor } from '../lora/peft-rules.ts'
import { safetensorsFile } from './files.ts'
import { type InProcessOptions, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const digits = (name: string) => fileURLToPath(new URL(`../fixtures/digits-llama/${name}`, import.meta.url))

/** A Llama of three layers, and its fine-tune on digits, in float32 and as two bfloat16 shards. */
export const BASE = digits('base')
export const TUNED = digits('tuned')
export const TUNED_BF16 = digits('tuned-bf16-sharded')

/** NumPy's singular values of a delta, in float64. */
export interface Spectrum {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  readonly values: readonly number[]
}

interface ReferenceTensor {
  readonly shape: [number, number]
  readonly delta_singular_values: number[]
}

/** Of the 23 matrices of digits-llama: of the float32 fine-tune. */
export const SPECTRA: ReadonlyMap<string, Spectrum> = new Map(
  Object.entries<ReferenceTensor>(JSON.parse(readFileSync(digits('reference.json'), 'utf8')).tensors).map(
    ([name, { shape, delta_singular_values: values }]) => [name, { name, shape, values }],
  ),
)

interface Bf16Delta {
  readonly name: string
  readonly shape: [number, number]
  readonly noise_floor: number
  readonly singular_values: number[]
}

/** … and of its bfloat16 copy, with the noise floor of its rounding. */
export const BF16_SPECTRA: ReadonlyMap<string, Spectrum & { readonly floor: number }> = new Map(
  (JSON.parse(readFileSync(digits('bf16-deltas.json'), 'utf8')) as Bf16Delta[]).map(
    ({ name, shape, singular_values: values, noise_floor: floor }) => [name, { name, shape, values, floor }],
  ),
)

/** The sum of the squares from index `from` on, added from the smallest. */
export const tail = (values: readonly number[], from: number): number =>
  values.slice(from).reduceRight((sum, s) => sum + s * s, 0)

/** Eckart and Young's least relative error at a rank. */
export const optimum = ({ values }: Spectrum, rank: number) => Math.sqrt(tail(values, rank) / tail(values, 0))

/** float32's rounding of a factorization, relative to the delta: below it an error is none. */
export const ROUNDING = 1e-6

/** Runs `extract … --json` and gives its document. It must end with `code` and say nothing else. */
export async function extracted(
  base: string,
  tuned: string,
  out: string,
  args: readonly string[],
  { code = 0, ...options }: InProcessOptions & { readonly code?: 0 | 1 } = {},
) {
  const result = await runInProcess(['extract', base, tuned, '-o', out, '--json', ...args], options)
  expect(result.stderr).toBe('')
  expect(result.code).toBe(code)
  return documentOf(result.stdout, 'extract-1')
}

/** Every file under a folder with its bytes. */
export const filesOf = (folder: string): Map<string, Buffer> =>
  new Map(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(join(folder, name))]),
  )

/** Fails where two folders differ in a file or a byte, and says which. */
export function expectSameFiles(actual: string, expected: string): void {
  const [a, b] = [filesOf(actual), filesOf(expected)]
  expect([...a.keys()]).toEqual([...b.keys()])
  for (const [name, bytes] of a) expect(bytes.equals(b.get(name)!), `${name} is the same`).toBe(true)
}

/** All weights of a checkpoint folder, whatever its shards are called. */
export function weightsOf(folder: string): Map<string, Tensor> {
  const shards = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  return new Map(shards.flatMap((name) => [...readSafetensorsFile(join(folder, name))]))
}

export const norm = (values: Iterable<number>) => {
  let sum = 0
  for (const value of values) sum += value * value
  return Math.sqrt(sum)
}

/** ‖tuned − merged‖_F / ‖tuned − base‖_F of one tensor, in float64. */
export function errorLeft(name: string, merged: Tensor, tuned: Tensor, base: Tensor): number {
  expect(merged.data.length, name).toBe(tuned.data.length)
  return (
    norm(tuned.data.map((value, i) => value - merged.data[i])) /
    norm(tuned.data.map((value, i) => value - base.data[i]))
  )
}

type NewDtype = 'F32' | 'BF16' | 'F64' | 'I64'

/** A tensor to be written; float32 unless it says otherwise. */
export interface NewTensor {
  readonly shape: readonly number[]
  readonly data: ArrayLike<number>
  readonly dtype?: NewDtype
}

export type NewModel = Readonly<Record<string, NewTensor>>

export interface ModelLayout {
  readonly config?: object
  /** The names of each shard in their order; one shard in the order of the model where left out. */
  readonly shards?: readonly (readonly string[])[]
}

/** Writes a checkpoint folder: shards with an index, or one model.safetensors. Gives its path. */
export function writeModel(folder: string, model: NewModel, { config, shards }: ModelLayout = {}): string {
  mkdirSync(folder, { recursive: true })
  if (config !== undefined) writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  if (shards === undefined) {
    writeFileSync(join(folder, 'model.safetensors'), shardOf(model, Object.keys(model)))
    return folder
  }
  const weightMap: Record<string, string> = {}
  for (const [i, names] of shards.entries()) {
    const file = `model-${i + 1}-of-${shards.length}.safetensors`
    writeFileSync(join(folder, file), shardOf(model, names))
    for (const name of names) weightMap[name] = file
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }))
  return folder
}

function shardOf(model: NewModel, names: readonly string[]): Buffer {
  const header: Record<string, object> = {}
  const parts: Buffer[] = []
  let end = 0
  for (const name of names) {
    const { shape, data, dtype = 'F32' } = model[name]
    const bytes = encoded(data, dtype)
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] }
    end += bytes.length
    parts.push(bytes)
  }
  return safetensorsFile(header, Buffer.concat(parts))
}

function encoded(data: ArrayLike<number>, dtype: NewDtype): Buffer {
  if (dtype === 'I64') return Buffer.from(BigInt64Array.from(Array.from(data, BigInt)).buffer)
  if (dtype === 'F64') return Buffer.from(Float64Array.from(data).buffer)
  const wide = Buffer.from(Float32Array.from(data).buffer)
  if (dtype === 'F32') return wide
  const narrow = Buffer.alloc(wide.length / 2)
  for (let i = 0; i < data.length; i++) {
    const bits = wide.readUInt32LE(4 * i)
    narrow.writeUInt16LE(((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff, 2 * i)
  }
  return narrow
}

/** Numbers in (−1, 1) with the spread of float32, the same for the same seed. */
export function numbers(count: number, seed: number): Float32Array {
  let state = (seed * 2654435761) >>> 0
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  }
  return Float32Array.from({ length: count }, next)
}

/** A random tensor, scaled as weights are. */
export const weight = (shape: readonly number[], seed: number, scale = 0.1): NewTensor => ({
  shape,
  data: numbers(
    shape.reduce((product, n) => product * n, 1),
    seed,
  ).map((x) => scale * x),
})

/** `tensor` and a change of rank `rank` in its 2-D view [shape[0], rest], and noise of this size in each entry. */
export function tunedBy(tensor: NewTensor, rank: number, seed: number, noise = 0): NewTensor {
  const rows = tensor.shape[0]
  const columns = tensor.data.length / rows
  const [left, right] = [numbers(rows * rank, seed), numbers(rank * columns, seed + 1)]
  const rest = numbers(rows * columns, seed + 2)
  const data = Float64Array.from(tensor.data, (value, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns]
    let sum = value + noise * rest[at]
    for (let k = 0; k < rank; k++) sum += (0.02 / (k + 1)) * left[i * rank + k] * right[k * columns + j]
    return sum
  })
  return { ...tensor, data }
}
