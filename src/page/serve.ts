import { helpWith } from '../engine/wasm/help.ts'
import type { WorkerStart } from '../engine/wasm/pool.ts'
import { answer } from './answer.ts'
import type { Answer, Request } from './messages.ts'
import { useProgram } from './program.ts'
import { type Role, serveRole } from './weights/program.ts'

/** What of a worker's global scope is used here. */
declare const self: {
  onmessage: ((event: MessageEvent) => void) | null
  postMessage(message: Answer): void
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
      last = last.then(() => answer(request, (message) => self.postMessage(message)))
    }
  }
}
