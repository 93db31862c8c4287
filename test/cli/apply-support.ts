import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { numbers } from './extract-support.ts'
import { safetensorsFile } from './files.ts'
import { type InProcessOptions, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

/** Nested arrays of numbers, as goldens have tensors. */
export type Nested = number | readonly Nested[]

export const shapeOf = (value: Nested): number[] =>
  typeof value === 'number' ? [] : [value.length, ...(value.length > 0 ? shapeOf(value[0]) : [])]

export const flat = (value: Nested): number[] => (typeof value === 'number' ? [value] : value.flatMap(flat))

export type Stored = 'F64' | 'F32' | 'F16' | 'BF16'

/** A tensor to be written: its numbers are rounded to its type by the oracle below. */
export interface Weights {
  readonly dtype: Stored
  readonly shape: readonly number[]
  readonly data: ArrayLike<number>
}

export const weightsOf = (value: Nested, dtype: Stored = 'F32'): Weights => ({
  ...{ dtype, shape: shapeOf(value), data: flat(value) },
})

/** Bits of the significand, the least exponent of a normal number, and the largest finite number. */
const TYPES = {
  F64: { bits: 53, least: -1022, most: Number.MAX_VALUE, bytes: 8 },
  F32: { bits: 24, least: -126, most: (2 - 2 ** -23) * 2 ** 127, bytes: 4 },
  F16: { bits: 11, least: -14, most: 65504, bytes: 2 },
  BF16: { bits: 8, least: -126, most: (2 - 2 ** -7) * 2 ** 127, bytes: 2 },
} as const

/** A number rounded once to nearest, ties to even, by the definition of the type and nothing of src/. */
export function rounded(x: number, dtype: Stored): number {
  if (x === 0 || !Number.isFinite(x) || dtype === 'F64') return x
  const { bits, least, most } = TYPES[dtype]
  let exponent = Math.floor(Math.log2(Math.abs(x)))
  if (2 ** exponent > Math.abs(x)) exponent--
  if (2 ** (exponent + 1) <= Math.abs(x)) exponent++
  const unit = 2 ** (Math.max(exponent, least) - bits + 1)
  const scaled = x / unit
  const floor = Math.floor(scaled)
  const rest = scaled - floor
  const up = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0)
  const result = (up ? floor + 1 : floor) * unit
  return Math.abs(result) > most ? Math.sign(x) * Number.POSITIVE_INFINITY : result
}

/** The bytes of numbers of the type; each has to be one. */
function bytesOf({ dtype, data }: Weights): Buffer {
  const values = Array.from(data, (x) => rounded(x, dtype))
  if (dtype === 'F64') return Buffer.from(Float64Array.from(values).buffer)
  const wide = Buffer.from(Float32Array.from(values).buffer)
  if (dtype === 'F32') return wide
  const narrow = Buffer.alloc(wide.length / 2)
  values.forEach((x, i) => {
    narrow.writeUInt16LE(dtype === 'BF16' ? wide.readUInt16LE(4 * i + 2) : halfBits(x), 2 * i)
  })
  return narrow
}

/** The bits of a number that float16 has. */
function halfBits(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0
  const size = Math.abs(x)
  if (size < 2 ** -14) return sign | (size / 2 ** -24)
  const exponent = Math.floor(Math.log2(size))
  return sign | ((exponent + 15) << 10) | ((size / 2 ** exponent - 1) * 1024)
}

export const fileOf = (tensors: Readonly<Record<string, Weights>>, metadata?: object): Buffer => {
  const header: Record<string, object> = metadata === undefined ? {} : { __metadata__: metadata }
  const parts: Buffer[] = []
  let end = 0
  for (const [name, tensor] of Object.entries(tensors)) {
    const bytes = bytesOf(tensor)
    header[name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [end, end + bytes.length] }
    end += bytes.length
    parts.push(bytes)
  }
  return safetensorsFile(header, Buffer.concat(parts))
}

/** Writes a folder with these files; what is no buffer as JSON. Gives its path. */
export function folderWith(path: string, files: Readonly<Record<string, Buffer | object | string>>): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true })
    const isText = Buffer.isBuffer(content) || typeof content === 'string'
    writeFileSync(join(path, name), isText ? content : JSON.stringify(content))
  }
  return path
}

/** Runs `apply … --json` and gives its document. It must end with `code` and say nothing else. */
export async function applied(
  args: readonly string[],
  { code = 0, ...options }: InProcessOptions & { readonly code?: 0 | 1 } = {},
) {
  const result = await runInProcess(['apply', ...args, '--json'], options)
  // which is about the numbers of the test
  expect(result.stderr.replace(/^lora-svd: .* \(told by a sample, before the write\)\n/gm, '')).toBe('')
  expect(result.code).toBe(code)
  return documentOf(result.stdout, 'apply-1')
}

/** ‖a − b‖ / ‖b‖. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  let [squares, of] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    squares += (a[i] - b[i]) ** 2
    of += b[i] ** 2
  }
  return Math.sqrt(squares / of)
}

/** Numbers in (−scale, scale) that the type has, the same for the same seed. */
export const random = (
  shape: readonly number[],
  seed: number,
  dtype: Stored = 'F32',
  scale = 0.1,
): Weights => ({
  ...{ dtype, shape },
  data: Float64Array.from(
    numbers(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    (x) => rounded(scale * x, dtype),
  ),
})

/** What PEFT puts before the names. */
export const PEFT = 'base_model.model.'

/** Writes a PEFT folder with factors of rank 2 for these modules [out, in], and other tensors. Gives its path. */
export function adapterAt(
  path: string,
  modules: Readonly<Record<string, readonly [number, number]>>,
  {
    tensors = {},
    config = {},
    files = {},
  }: {
    tensors?: Readonly<Record<string, Weights>>
    config?: object
    files?: Readonly<Record<string, Buffer | object | string>>
  } = {},
): string {
  const factors = Object.entries(modules).flatMap(([module, [out, inputs]], i): [string, Weights][] => [
    [`${PEFT}${module}.lora_A.weight`, random([2, inputs], 2 * i + 1)],
    [`${PEFT}${module}.lora_B.weight`, random([out, 2], 2 * i + 2)],
  ])
  return folderWith(path, {
    'adapter_config.json': {
      peft_type: 'LORA',
      r: 2,
      lora_alpha: 2,
      target_modules: Object.keys(modules),
      ...config,
    },
    'adapter_model.safetensors': fileOf({ ...Object.fromEntries(factors), ...tensors }),
    ...files,
  })
}

/** The change of a module of `adapterAt`, by the place in the flat tensor. */
export function deltaOf([out, inputs]: readonly [number, number], i: number): (at: number) => number {
  const [A, B] = [random([2, inputs], 2 * i + 1).data, random([out, 2], 2 * i + 2).data]
  return (at) => {
    const [row, column] = [Math.floor(at / inputs), at % inputs]
    return B[row * 2] * A[column] + B[row * 2 + 1] * A[inputs + column]
  }
}

export const read = (path: string, name = 'model.safetensors') => readSafetensorsFile(join(path, name))
export const jsonOf = (path: string, name: string) => JSON.parse(readFileSync(join(path, name), 'utf8'))
