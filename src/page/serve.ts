import { helpWith } from '../engine/wasm/help.ts'
import type { WorkerStart } from '../engine/wasm/pool.ts'
import { lessonTasks } from './lesson/tasks.ts'
import { type Answer, type Request, sentError, type Task } from './messages.ts'
import { useProgram } from './program.ts'
import { type Role, serveRole } from './weights/program.ts'

/** What of a worker's global scope is used here. */
declare const self: {
  onmessage: ((event: MessageEvent) => void) | null
  postMessage(message: Answer): void
}

const tasks: Readonly<Record<string, Task<never, unknown, unknown>>> = {
  ...lessonTasks,
}

/** A worker's first message: what it is. */
export type Start =
  | { readonly role: 'tasks'; readonly program: string }
  | { readonly role: 'thread'; readonly start: WorkerStart }
  | Role

/** A worker of the page. */
export function serve(): void {
  self.onmessage = ({ data }: MessageEvent<Start>) => {
    if (data.role === 'thread') return helpWith(data.start)
    useProgram(data.program)
    if (data.role !== 'tasks') return serveRole(data)
    let last: Promise<void> = Promise.resolve()
    self.onmessage = ({ data: request }: MessageEvent<Request>) => {
      last = last.then(() => answer(request))
    }
  }
}

async function answer({ id, kind, input }: Request): Promise<void> {
  try {
    const tell = (value: unknown) => self.postMessage({ id, kind: 'progress', value })
    const value = await tasks[kind](input as never, tell)
    self.postMessage({ id, kind: 'done', value })
  } catch (error) {
    self.postMessage({ id, kind: 'failed', error: sentError(error) })
  }
}
