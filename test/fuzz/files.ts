/** A safetensors file of these tensors, all zeros, right or wrong: names may come twice. */
export function zeroTensors(
  tensors: readonly { readonly name: string; readonly dtype?: string; readonly shape: readonly number[] }[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  let at = 0
  const members = tensors.map(({ name, dtype = 'F32', shape }) => {
    const bytes = shape.reduce((product, n) => product * n, BYTES[dtype] ?? 4)
    const entry = { dtype, shape, data_offsets: [at, at + bytes] }
    at += bytes
    return `${JSON.stringify(name)}:${JSON.stringify(entry)}`
  })
  if (Object.keys(metadata).length > 0) members.unshift(`"__metadata__":${JSON.stringify(metadata)}`)
  const header = Buffer.from(`{${members.join(',')}}`)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return new Uint8Array(Buffer.concat([length, header, Buffer.alloc(at)]))
}

const BYTES: Readonly<Record<string, number>> = {
  F64: 8,
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  U8: 1,
  F8_E4M3: 1,
}

/** A llama of one layer, small, under transformers' names. */
export const SMALL_MODEL = [
  ['model.embed_tokens.weight', [6, 4]],
  ['model.layers.0.self_attn.q_proj.weight', [4, 4]],
  ['model.layers.0.self_attn.k_proj.weight', [2, 4]],
  ['model.layers.0.self_attn.v_proj.weight', [2, 4]],
  ['model.layers.0.self_attn.o_proj.weight', [4, 4]],
  ['model.layers.0.mlp.gate_proj.weight', [8, 4]],
  ['model.layers.0.mlp.up_proj.weight', [8, 4]],
  ['model.layers.0.mlp.down_proj.weight', [4, 8]],
  ['model.layers.0.input_layernorm.weight', [4]],
  ['model.norm.weight', [4]],
  ['lm_head.weight', [6, 4]],
] as const

export const smallModel = (): Uint8Array => zeroTensors(SMALL_MODEL.map(([name, shape]) => ({ name, shape })))

/** Factors of rank 2 for matrices of that model, named by a function of the module's path. */
export const smallFactors = (names: (path: string) => readonly [down: string, up: string], swapped = false) =>
  zeroTensors(
    SMALL_MODEL.filter(([name]) => /_proj/.test(name)).flatMap(([name, [rows, columns = 1]]) => {
      const [down, up] = names(name.replace(/\.weight$/, ''))
      return [
        { name: down, shape: swapped ? [columns, 2] : [2, columns] },
        { name: up, shape: swapped ? [2, rows] : [rows, 2] },
      ]
    }),
  )
