import type { Task } from '../messages.ts'

/** What workers do for "Your own weights". */
export const weightsTasks = {} satisfies Record<string, Task<never, unknown, unknown>>
