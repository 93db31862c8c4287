import { lessonTasks } from './lesson/tasks.ts'
import { type Answer, type Request, sentError, type Task } from './messages.ts'

const tasks: Readonly<Record<string, Task<never, unknown, unknown>>> = lessonTasks

/** Does what a request asks for; `post` gets what is to be said of it. */
export async function answer({ id, kind, input }: Request, post: (message: Answer) => void): Promise<void> {
  try {
    const value = await tasks[kind](input as never, (progress: unknown) =>
      post({ id, kind: 'progress', value: progress }),
    )
    post({ id, kind: 'done', value })
  } catch (error) {
    post({ id, kind: 'failed', error: sentError(error) })
  }
}
