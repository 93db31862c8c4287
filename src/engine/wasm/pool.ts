import { LoraSvdError } from '../../errors.ts'
import { Kind, TASK_WORDS, TaskField, TypeCode } from './contract.ts'
import { CONTROL_WORDS, close, FAILED, JOINS, open, ROUND, STOP } from './control.ts'
import type { Heap } from './memory.ts'
import type { Kernels } from './module.ts'
import { startThread } from './thread.ts'

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

/**
 * The threads of the embedded engine. The calling thread always does its share and never depends on its
 * event loop turning: workers start by themselves and join whatever task is open by then (see control.ts).
 */

/** What a worker is told at its start; addresses in the shared memory. */
export interface WorkerStart {
  readonly module: WebAssembly.Module
  readonly memory: WebAssembly.Memory
  readonly control: number
  readonly controlWords: number
  readonly task: number
  readonly scratch: number
}

export interface Pool {
  /** Does all tiles of the task, with the workers' help, and returns when they are done. */
  run(task: Task): void
  /** How often a worker has joined a task. */
  joins(): number
  /** Ends the workers for good. Later tasks run on the calling thread alone. */
  close(): void
}

/**
 * Multiplications, in all tasks so far, that take one thread as long as a worker takes to start, some 20 ms:
 * starting workers then can at most double the time, and short commands never start any.
 */
const STARTS_WORKERS_FROM = 2e8
/** Multiplications below which a sleeping worker would wake too late to help: some 0.1 ms. */
const SHARED_FROM = 2e6

const WORD = Int32Array.BYTES_PER_ELEMENT

export function createPool(
  threads: number,
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  heap: Heap,
  kernels: Kernels,
): Pool {
  const task = heap.allocate(TASK_WORDS * WORD)
  const scratch = heap.allocate(kernels.scratchBytes())
  const controlAddress = heap.allocate(CONTROL_WORDS * WORD)
  const words = new Uint32Array(memory.buffer, task, TASK_WORDS)
  const control = new Int32Array(memory.buffer, controlAddress, CONTROL_WORDS).fill(0)
  let multiplicationsSoFar = 0
  let workers = 0
  let closed = false

  function startWorker(): void {
    startThread({
      module,
      memory,
      control: controlAddress,
      controlWords: CONTROL_WORDS,
      task,
      scratch: heap.allocate(kernels.scratchBytes()),
    })
    workers++
  }

  function run(order: Task): void {
    writeTask(words, order)
    const multiplications = order.m * order.n * order.k
    multiplicationsSoFar += multiplications
    if (multiplicationsSoFar >= STARTS_WORKERS_FROM) {
      while (!closed && workers < threads - 1) startWorker()
    }
    if (closed || workers === 0 || order.tiles < 2 || multiplications < SHARED_FROM) {
      kernels.work(task, scratch)
      return
    }
    open(control)
    try {
      kernels.work(task, scratch)
    } finally {
      close(control)
    }
    if (Atomics.exchange(control, FAILED, 0) !== 0) {
      throw new LoraSvdError('system', 'a thread of the embedded engine failed; run again with --threads 1')
    }
  }

  function end(): void {
    closed = true
    Atomics.store(control, STOP, 1)
    Atomics.add(control, ROUND, 1)
    Atomics.notify(control, ROUND)
  }

  return { run, joins: () => Atomics.load(control, JOINS), close: end }
}
