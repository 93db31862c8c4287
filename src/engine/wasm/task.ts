import { Kind, TaskField, TypeCode } from './contract.ts'

/** The work order that the kernels read from the shared memory, as a program writes it. */

type Flag = 'transposeA' | 'transposeB' | 'accumulate' | 'lowerOnly'
type Field = Exclude<keyof typeof TaskField, 'next'>

/** A task: every word of TaskField but `next`, which starts at 0. Flags are written as 1 and 0. */
export type Task = Readonly<Record<Exclude<Field, Flag>, number> & Record<Flag, boolean>>

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

const FIELDS = Object.keys(emptyTask) as Field[]

/** Writes the task with no tile taken yet. */
export function writeTask(words: Uint32Array, task: Task): void {
  words[TaskField.next] = 0
  for (const field of FIELDS) words[TaskField[field]] = Number(task[field])
}
