import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type ErrorPlace, LoraSvdError } from '../../src/errors.ts'
import { openNpy } from '../../src/formats/npy.ts'
import { storedDtypeOf } from '../../src/formats/safetensors-dtype.ts'
import { readMatrixOf, tensorSet } from '../../src/formats/tensor-set.ts'
import { memorySource } from '../../src/io/source.ts'

/** What the scripts wrote: numbers, with NaN and the infinities as Python's text. */
type StoredNumber = number | string

export interface StoredArray {
  readonly file: string
  readonly shape: readonly number[]
  readonly values: readonly StoredNumber[]
}

interface Expected {
  readonly matrices: readonly (StoredArray & { dtype: string })[]
  readonly refused: readonly { file: string; reason: string }[]
  readonly npySave: readonly (StoredArray & { dtype: string })[]
  readonly npz: readonly (StoredArray & { tensor: string })[]
  readonly halves: {
    readonly f16: string
    readonly bf16: string
    readonly f64ToF16: readonly [number, number][]
    readonly f32ToBf16: readonly [number, number][]
  }
}

interface Peers {
  readonly pandas: readonly StoredArray[]
  readonly written: readonly {
    file: string
    metadata: Record<string, string>
    tensors: readonly { name: string; dtype: string; shape: number[]; data: string }[]
  }[]
  readonly headers: readonly { header: string; dataLength: number; reference: string }[]
}

export const fixturePath = (name: string) =>
  fileURLToPath(new URL(`../fixtures/formats/${name}`, import.meta.url))
export const fixtureBytes = (name: string) => new Uint8Array(readFileSync(fixturePath(name)))
export const expected: Expected = JSON.parse(readFileSync(fixturePath('expected.json'), 'utf8'))
export const peers: Peers = JSON.parse(readFileSync(fixturePath('peers.json'), 'utf8'))

const PYTHON_NUMBERS: Record<string, number> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
}

export const numbers = (stored: StoredArray) =>
  stored.values.map((v) => (typeof v === 'number' ? v : PYTHON_NUMBERS[v]))

/** The matrix of a .npy file, by its own reader alone. */
export async function readNpy(bytes: Uint8Array, place: ErrorPlace & { readonly file: string }) {
  const source = memorySource(place.file, bytes)
  const set = tensorSet(source, await openNpy(source))
  const [{ name, dtype }] = set.tensors.values()
  return { matrix: await readMatrixOf(set, name, place), dtype: storedDtypeOf(dtype) }
}

/** The LoraSvdError that an action throws; anything else, or nothing, fails the test. */
export async function errorOf(action: () => unknown): Promise<LoraSvdError> {
  let error: unknown
  try {
    await action()
  } catch (thrown) {
    error = thrown
  }
  if (!(error instanceof LoraSvdError))
    throw new Error(`expected a LoraSvdError, got ${String(error)}`, { cause: error })
  if (error.message.includes('\n')) throw new Error(`more than one line: ${error.message}`)
  return error
}
