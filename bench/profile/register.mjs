// Tells the bench which thread of the system a thread of Node is. Imported first by every program of a profiled command line.
import { readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'

const folder = process.env.PROFILE_FOLDER

/** `program`: main, job or engine. */
export function register(program) {
  if (folder === undefined || process.platform !== 'linux') return
  // such as 123/task/456
  const id = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
  writeFileSync(join(folder, `thread-${threadId}.json`), JSON.stringify({ threadId, id, program }))
}
