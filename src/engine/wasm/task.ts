import { TypeCode } from './memory.ts'

/** The work order as the kernels read it: assembly/task.ts has the same fields in the same order. */

export const Kind = { gemm: 0, normal: 1, frobenius: 2, residual: 3 } as const

export interface Task {
  readonly kind: number
  readonly tiles: number
  readonly arithmetic: number
  readonly m: number
  readonly n: number
  readonly k: number
  readonly a: number
  readonly typeA: number
  readonly strideA: number
  readonly transposeA: boolean
  readonly b: number
  readonly typeB: number
  readonly strideB: number
  readonly transposeB: boolean
  readonly c: number
  readonly strideC: number
  readonly accumulate: boolean
  readonly lowerOnly: boolean
  readonly tileRows: number
  readonly tileColumns: number
  readonly partials: number
}

const FIELDS = [
  'kind',
  'next',
  'tiles',
  'arithmetic',
  'm',
  'n',
  'k',
  'a',
  'typeA',
  'strideA',
  'transposeA',
  'b',
  'typeB',
  'strideB',
  'transposeB',
  'c',
  'strideC',
  'accumulate',
  'lowerOnly',
  'tileRows',
  'tileColumns',
  'partials',
] as const

export const TASK_WORDS = FIELDS.length

/** Writes the task with no tile taken yet. */
export function writeTask(words: Uint32Array, task: Task): void {
  FIELDS.forEach((field, i) => {
    words[i] = field === 'next' ? 0 : Number(task[field])
  })
}

/** A task with nothing set, for kinds that need few fields. */
export const emptyTask: Task = {
  kind: Kind.gemm,
  tiles: 0,
  arithmetic: TypeCode.f64,
  m: 0,
  n: 0,
  k: 0,
  a: 0,
  typeA: TypeCode.f64,
  strideA: 0,
  transposeA: false,
  b: 0,
  typeB: TypeCode.f64,
  strideB: 0,
  transposeB: false,
  c: 0,
  strideC: 0,
  accumulate: false,
  lowerOnly: false,
  tileRows: 1,
  tileColumns: 1,
  partials: 0,
}
