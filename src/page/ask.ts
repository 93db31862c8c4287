import { answer } from './answer.ts'
import { type Answer, type Request, receivedError } from './messages.ts'
import { programAddress } from './program.ts'
import type { Start } from './serve.ts'

/** A worker of the page, seen from the page. */
export interface Asked {
  /** Does a task of the worker. Rejects with the error that the task throws, a LoraSvdError with its code. */
  ask<Result, Progress = never>(
    kind: string,
    input: unknown,
    onProgress?: (progress: Progress) => void,
  ): Promise<Result>
  /** Ends the worker in the midst of what it does; what it was asked is never answered. */
  stop(): void
}

interface Waiting {
  resolve(value: unknown): void
  reject(error: Error): void
  onProgress: ((progress: never) => void) | undefined
}

/** What takes requests: a worker, or the page itself. */
interface Desk {
  post(request: Request): void
  stop(): void
}

let isInPage = false

/** What to tell a reader where no worker could be had. */
export const workerNotice = (): string | undefined =>
  isInPage
    ? 'This browser starts no worker here: the page itself computes, and stands still meanwhile.'
    : undefined

/** Starts a worker; where the browser has none, the page does the work itself. */
export function openWorker(): Asked {
  const waiting = new Map<number, Waiting>()
  let asked = 0
  const desk = openDesk(
    (message) => {
      const who = waiting.get(message.id)
      if (message.kind === 'progress') return who?.onProgress?.(message.value as never)
      waiting.delete(message.id)
      if (message.kind === 'done') who?.resolve(message.value)
      else who?.reject(receivedError(message.error))
    },
    (error) => {
      for (const { reject } of waiting.values()) reject(error)
      waiting.clear()
    },
  )
  return {
    ask: <Result, Progress>(kind: string, input: unknown, onProgress?: (progress: Progress) => void) =>
      new Promise<Result>((resolve, reject) => {
        const id = asked++
        waiting.set(id, {
          resolve: resolve as (value: unknown) => void,
          reject,
          onProgress: onProgress as Waiting['onProgress'],
        })
        desk.post({ id, kind, input })
      }),
    stop: desk.stop,
  }
}

function openDesk(onAnswer: (message: Answer) => void, onEnd: (error: Error) => void): Desk {
  let worker: Worker
  try {
    worker = new Worker(programAddress())
  } catch {
    return inPage(onAnswer)
  }
  worker.postMessage({ role: 'tasks', program: programAddress() } satisfies Start)
  worker.onmessage = ({ data }: MessageEvent<Answer>) => onAnswer(data)
  worker.onerror = ({ message }) => onEnd(new Error(message || 'the worker ended'))
  return { post: (request) => worker.postMessage(request), stop: () => worker.terminate() }
}

function inPage(onAnswer: (message: Answer) => void): Desk {
  isInPage = true
  let isStopped = false
  return {
    // after what is drawn now
    post: (request) => setTimeout(() => answer(request, (message) => !isStopped && onAnswer(message))),
    stop() {
      isStopped = true
    },
  }
}
