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

/** Starts a worker. */
export function openWorker(): Asked {
  const worker = new Worker(programAddress())
  const waiting = new Map<number, Waiting>()
  let asked = 0
  worker.postMessage({ role: 'tasks', program: programAddress() } satisfies Start)
  worker.onmessage = ({ data }: MessageEvent<Answer>) => {
    const who = waiting.get(data.id)
    if (data.kind === 'progress') return who?.onProgress?.(data.value as never)
    waiting.delete(data.id)
    if (data.kind === 'done') who?.resolve(data.value)
    else who?.reject(receivedError(data.error))
  }
  worker.onerror = ({ message }) => {
    for (const { reject } of waiting.values()) reject(new Error(message || 'the worker ended'))
    waiting.clear()
  }
  return {
    ask: <Result, Progress>(kind: string, input: unknown, onProgress?: (progress: Progress) => void) =>
      new Promise<Result>((resolve, reject) => {
        const id = asked++
        waiting.set(id, {
          resolve: resolve as (value: unknown) => void,
          reject,
          onProgress: onProgress as Waiting['onProgress'],
        })
        worker.postMessage({ id, kind, input } satisfies Request)
      }),
    stop: () => worker.terminate(),
  }
}
