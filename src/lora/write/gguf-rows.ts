import type { FloatArray } from '../../linalg/matrix/matrix.ts'

/**
 * In which order llama.cpp keeps the rows of a weight, and so those of B. `query`, `key`: architectures that rotate neighbours where
 * transformers rotates halves have each head's two halves interleaved (LlamaModel.permute, conversion/llama.py@7bca1fd9). `by head`:
 * GPT-NeoX stores query, key and value of each head together, llama.cpp those of all heads (conversion/gpt_neox.py@7bca1fd9).
 * `by group`: Falcon stores the queries that share a key with it and the value (conversion/falcon.py@5535795b). The three of
 * a group alone: InternLM2's fused rows, taken apart and interleaved (conversion/internlm.py@32e9e044).
 */
export type RowOrder =
  | 'query'
  | 'key'
  | 'by head'
  | 'by group'
  | 'queries of a group'
  | 'keys of a group'
  | 'values of a group'

/** The heads that share the rows of an attention's weights. */
export interface Heads {
  readonly queries: number
  readonly keys: number
}

/** For each row of B as llama.cpp has it the row of PEFT's that it is; undefined where so many rows are not of so many heads. */
export function rowsOfB(order: RowOrder, rows: number, { queries, keys }: Heads): Uint32Array | undefined {
  if (order === 'query') return isWhole(rows, 2 * queries) ? interleaved(range(rows), queries) : undefined
  if (order === 'key') return isWhole(rows, 2 * keys) ? interleaved(range(rows), keys) : undefined
  if (!isWhole(queries, keys)) return undefined
  const perKey = order === 'by head' ? 1 : queries / keys
  const groups = order === 'by head' ? queries : keys
  if (!isWhole(rows, groups * (perKey + 2))) return undefined
  const size = rows / (groups * (perKey + 2))
  /** The rows of some of the parts of each group: its queries, then its key, then its value. */
  const parts = (from: number, to: number) =>
    Uint32Array.from({ length: groups * (to - from) * size }, (_, i) => {
      const group = Math.floor(i / ((to - from) * size))
      return (group * (perKey + 2) + from) * size + (i % ((to - from) * size))
    })
  const queriesOfAll = () => parts(0, perKey)
  const keysOfAll = () => parts(perKey, perKey + 1)
  const valuesOfAll = () => parts(perKey + 1, perKey + 2)
  switch (order) {
    case 'by head':
    case 'by group':
      return Uint32Array.of(...queriesOfAll(), ...keysOfAll(), ...valuesOfAll())
    case 'queries of a group':
      return isWhole(size, 2) ? interleaved(queriesOfAll(), queries) : undefined
    case 'keys of a group':
      return isWhole(size, 2) ? interleaved(keysOfAll(), keys) : undefined
    case 'values of a group':
      return valuesOfAll()
  }
}

const isWhole = (rows: number, parts: number) => parts > 0 && rows % parts === 0
const range = (length: number) => Uint32Array.from({ length }, (_, i) => i)

/** Each head's rows [2, half] as [half, 2]. */
function interleaved(rows: Uint32Array, heads: number): Uint32Array {
  const size = rows.length / heads
  return rows.map((_, i) => {
    const [head, within] = [Math.floor(i / size), i % size]
    return rows[head * size + (within % 2) * (size / 2) + Math.floor(within / 2)]
  })
}

/** The order that undoes another, of all rows. */
export function inverseRows(rows: Uint32Array): Uint32Array {
  const inverse = new Uint32Array(rows.length)
  for (let i = 0; i < rows.length; i++) inverse[rows[i]] = i
  return inverse
}

/** The rows of a matrix in another order: row i of the result is row `rows[i]`. */
export function takeRows<T extends FloatArray>(data: T, columns: number, rows: Uint32Array): T {
  const out = new (data.constructor as new (length: number) => T)(rows.length * columns)
  for (let i = 0; i < rows.length; i++) {
    out.set(data.subarray(rows[i] * columns, (rows[i] + 1) * columns), i * columns)
  }
  return out
}
