import { readMatrixFrom } from '../../checkpoint/read-matrix.ts'
import { badInput } from '../../errors.ts'
import { type FloatDtype, findOverflow, vanishes } from '../../formats/dtype.ts'
import type { NpyFloat } from '../../formats/npy.ts'
import { writeNpz } from '../../formats/npz.ts'
import { safetensorsDtypeOf } from '../../formats/safetensors-dtype.ts'
import { layoutSafetensors, safetensorsChunks } from '../../formats/safetensors-writer.ts'
import { openFile } from '../../io/source.ts'
import type { Chunks } from '../../io/write-atomic.ts'
import type { Matrix } from '../../linalg/matrix/matrix.ts'
import { largestAbs } from '../../linalg/matrix/norms.ts'
import type { Factors } from '../../linalg/svd/svd.ts'
import type { FactorsFormat } from './options.ts'

/** The names of the two factors in the file. */
const NAMES = { A: 'lora_A', B: 'lora_B' } as const

/** The bytes of a file with `lora_A` and `lora_B`. Throws `bad-input` where an entry is too large for the dtype. */
export function factorsChunks({ A, B }: Factors, dtype: FloatDtype, format: FactorsFormat): Chunks {
  refuseLoss(NAMES.A, A, dtype)
  refuseLoss(NAMES.B, B, dtype)
  if (format === 'npz') {
    // the plan has refused bf16, which NumPy doesn't have
    const stored = dtype as NpyFloat
    return [
      writeNpz([
        { name: NAMES.A, array: A, dtype: stored },
        { name: NAMES.B, array: B, dtype: stored },
      ]),
    ]
  }
  const tensor = (name: string, M: Matrix) => ({
    name,
    dtype: safetensorsDtypeOf(dtype),
    shape: [M.rows, M.columns],
    data: M.data,
  })
  return safetensorsChunks(layoutSafetensors([tensor(NAMES.A, A), tensor(NAMES.B, B)], { format: 'pt' }))
}

/** The factors as they lie on disk. */
export async function readFactors(path: string): Promise<Factors> {
  const source = await openFile(path)
  try {
    const A = await readMatrixFrom(source, { tensor: NAMES.A })
    const B = await readMatrixFrom(source, { tensor: NAMES.B })
    return { A: A.matrix, B: B.matrix }
  } finally {
    await source.close()
  }
}

/** Throws `bad-input` where the dtype can't hold an entry, or where nothing would be left of the factor. */
function refuseLoss(tensor: string, M: Matrix, dtype: FloatDtype): void {
  const wider = dtype === 'f16' ? '--dtype bf16 or f32' : '--dtype f64'
  const at = findOverflow(M.data, dtype)
  if (at >= 0) {
    throw badInput(
      `${tensor} has an entry of ${M.data[at].toPrecision(3)}, too large for ${dtype}; use ${wider}`,
      { tensor },
    )
  }
  if (!vanishes(M.data, dtype)) return
  throw badInput(
    `${tensor} has no entry beyond ${largestAbs(M.data).toPrecision(3)}, and all are zero in ${dtype}; use ${wider}`,
    { tensor },
  )
}
