import { FAILED, join, leave, ROUND, STOP } from './control.ts'
import type { WorkerStart } from './pool.ts'

/** What a thread of the embedded engine does: sleeps until a task opens, helps with its tiles, sleeps again, until it is to end. */
export function helpWith({
  module,
  memory,
  control: address,
  controlWords,
  task,
  scratch,
}: WorkerStart): void {
  const { work } = new WebAssembly.Instance(module, { env: { memory } }).exports as {
    work(task: number, scratch: number): void
  }
  const control = new Int32Array(memory.buffer, address, controlWords)
  for (;;) {
    // read before STOP and STATE, so that whatever changes after them ends the wait below
    const round = Atomics.load(control, ROUND)
    if (Atomics.load(control, STOP) !== 0) break
    if (join(control)) {
      try {
        work(task, scratch)
      } catch {
        Atomics.store(control, FAILED, 1)
      } finally {
        leave(control)
      }
    }
    Atomics.wait(control, ROUND, round)
  }
}
