import { sameNumbers } from '../../checkpoint/models.ts'
import { elementCount } from '../../checkpoint/read.ts'
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import { badInput, type LoraSvdError } from '../../errors.ts'
import { quoted, shapeText } from '../../text/quote.ts'
import type { Change, Replacement } from '../../update/change.ts'

/** Tensors that take the place of the base's, whole or some of their rows. */

/** Throws where rows don't fit the table that they are rows of. */
export function assertRows(
  path: string,
  tensor: StoredTensor,
  rows: readonly number[],
  base: StoredTensor | undefined,
): void {
  if (base === undefined) return
  const most = rows.reduce((a, b) => Math.max(a, b), 0)
  if (base.shape.length === 2 && base.shape[1] === tensor.shape[1] && most < base.shape[0]) return
  throw badInput(
    `${path}: tensor ${quoted(tensor.name)} ${shapeText(tensor.shape)} is rows up to ${most} of ${quoted(base.name)} ${shapeText(base.shape)}: the adapter belongs to another base`,
    { file: path, tensor: tensor.name },
  )
}

/** The replacement that is meant: those of two adapters may be the same numbers. */
export async function oneOf(
  name: string,
  replacements: readonly Replacement[],
  prefer: 'first' | 'last' | undefined,
): Promise<Replacement | undefined> {
  if (replacements.length < 2 || prefer === 'first') return replacements[0]
  if (prefer === 'last') return replacements.at(-1)
  const [first, ...others] = replacements
  for (const other of others) {
    const isOfSameRows = first.rows?.join() === other.rows?.join()
    if (isOfSameRows && (await sameNumbers(first.tensor, other.tensor))) continue
    throw badInput(
      `${other.path}: puts another tensor in the place of ${quoted(name)} than ${first.path} does; say which one counts with --prefer first or --prefer last`,
      { file: other.path, tensor: other.tensor.name },
    )
  }
  return first
}

/** Of a vocabulary that grew or shrank the rows may be others; all else has the base's shape. */
export function replacing(
  name: string,
  base: StoredTensor | undefined,
  replacement: Replacement,
  checkpoint: Checkpoint,
): Change {
  const { tensor, path, rows } = replacement
  if (rows !== undefined && base !== undefined) {
    return {
      ...{ name, base, shape: base.shape, ...matrixOf(base.shape) },
      factors: [],
      dense: [],
      replacement,
    }
  }
  const isSame = base === undefined || isSameLength(tensor, base)
  const isLonger =
    base !== undefined && isWords(base) && tensor.shape.slice(1).join() === base.shape.slice(1).join()
  if (!isSame && !isLonger) throw misfit(path, tensor, base ?? tensor, checkpoint.path)
  const shape = isSame && base !== undefined ? base.shape : tensor.shape
  return {
    ...{ name, shape, ...matrixOf(shape), factors: [], dense: [], replacement },
    ...(base !== undefined && { base }),
  }
}

/** Of one row for each word: an embedding, a head, or a head's bias. */
const isWords = ({ name, shape }: StoredTensor) =>
  shape.length <= 2 &&
  /(^|\.)(embed_tokens|wte|word_embeddings|shared|lm_head|embed_out)\.(weight|bias)$/.test(name)

/** Whether two have the same entries in the same shape, ones aside. */
export const isSameLength = (a: StoredTensor, b: StoredTensor) =>
  elementCount(a) === elementCount(b) &&
  a.shape.filter((n) => n !== 1).join() === b.shape.filter((n) => n !== 1).join()

/** A tensor as one matrix: a kernel is [out, in·kh·kw], a vector one row. */
export function matrixOf(shape: readonly number[]) {
  if (shape.length < 2) return { matrices: 1, rows: 1, columns: shape[0] ?? 1 }
  const [rows, ...rest] = shape
  return { matrices: 1, rows, columns: rest.reduce((product, n) => product * n, 1) }
}

export const misfit = (
  path: string,
  tensor: StoredTensor,
  base: StoredTensor,
  where = 'the base',
): LoraSvdError =>
  badInput(
    `${path}: tensor ${quoted(tensor.name)} ${shapeText(tensor.shape)} doesn't fit ${quoted(base.name)} ${shapeText(base.shape)} of ${where}`,
    { file: path, tensor: tensor.name },
  )
