import type { FromDesk, ToDesk } from './messages.ts'
import { serveDesk, serveJobs } from './serve.ts'

/** How to speak to a desk. */
export interface Post {
  post(message: ToDesk): void
  end(): void
}

/** How desks and workers of jobs are started. */
export interface Program {
  startDesk(receive: (message: FromDesk) => void, lost: (problem: string) => void): Post
  /** Gives what ends it. */
  startJobs(port: MessagePort, lost: (problem: string) => void): () => void
}

/** The first message to a worker of this part of the page. */
export type Role = { readonly program: string } & (
  | { readonly role: 'desk' }
  | { readonly role: 'jobs'; readonly port: MessagePort }
)

const problemOf = ({ message }: ErrorEvent) => message || 'it could not be started'

/** Workers, which run the page's program. */
export const inWorkers = (program: string): Program => ({
  startDesk(receive, lost) {
    const worker = new Worker(program)
    worker.onmessage = ({ data }: MessageEvent<FromDesk>) => receive(data)
    worker.onerror = (event) => lost(problemOf(event))
    worker.postMessage({ role: 'desk', program } satisfies Role)
    return { post: (message) => worker.postMessage(message), end: () => worker.terminate() }
  },
  startJobs(port, lost) {
    const worker = new Worker(program)
    worker.onerror = (event) => lost(problemOf(event))
    worker.postMessage({ role: 'jobs', program, port } satisfies Role, [port])
    return () => worker.terminate()
  },
})

/** All in the page itself, which stands still meanwhile: for browsers that let it have no workers. */
export const inThePage: Program = {
  startDesk(receive) {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = ({ data }: MessageEvent<FromDesk>) => receive(data)
    serveDesk(port2)
    return { post: (message) => port1.postMessage(message), end: () => port1.close() }
  },
  startJobs(port) {
    serveJobs(port)
    return () => port.close()
  },
}

/** In a worker, what its first message makes of it. */
export function serveRole(role: Role): void {
  if (role.role === 'desk') serveDesk(self as unknown as Parameters<typeof serveDesk>[0])
  else serveJobs(role.port)
}
