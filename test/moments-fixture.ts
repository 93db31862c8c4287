import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * moments-reference.json was made by PyTorch in float64 on the fixture's own model: at each rank the best factors in the plain norm, in that of
 * the diagonals and in that of the full second moments, with their error in their own norm, in the plain one, and in that of the full moments; and what
 * the model with these factors, and else tuned, says of 400 held-out images: KL divergence to the tuned model, and accuracy.
 */
export const digits = (name: string) =>
  fileURLToPath(new URL(`./fixtures/digits-llama/${name}`, import.meta.url))

export const MOMENTS = digits('moments.safetensors')
/** The same inputs as llama.cpp would keep them: diagonals. */
export const IMATRIX = digits('imatrix.gguf')

export type Kind = 'plain' | 'diagonal' | 'full'

export interface Figures {
  readonly kl: number
  readonly accuracy: number
  readonly errors: Readonly<
    Record<string, { readonly weighted: number; readonly plain: number; readonly output: number }>
  >
}

/** By rank: 1, 2, 4, 8, 16. */
export const REFERENCE: Readonly<Record<string, Record<Kind, Figures>>> = JSON.parse(
  readFileSync(digits('moments-reference.json'), 'utf8'),
).ranks

/** A safetensors file of float32 tensors. */
export function float32File(
  tensors: Readonly<Record<string, { readonly shape: readonly number[]; readonly data: ArrayLike<number> }>>,
  metadata?: Readonly<Record<string, string>>,
): Buffer {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata }
  const parts: Buffer[] = []
  let at = 0
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    const bytes = Buffer.from(Float32Array.from(data).buffer)
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + bytes.length] }
    parts.push(bytes)
    at += bytes.length
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, ...parts])
}

/** llama.cpp's older importance matrix: of each entry how often it was called, and its values times that. */
export function datFile(
  entries: readonly { name: string; calls: number; values: readonly number[] }[],
): Buffer {
  const int = (value: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeInt32LE(value)
    return bytes
  }
  return Buffer.concat([
    int(entries.length),
    ...entries.flatMap(({ name, calls, values }) => [
      ...[int(name.length), Buffer.from(name), int(calls), int(values.length)],
      Buffer.from(Float32Array.from(values, (x) => x * calls).buffer),
    ]),
    ...[int(7), int(5), Buffer.from('words')],
  ])
}
