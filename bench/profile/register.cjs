// Tells the bench which thread of the system a thread of Node is. Loaded first by every program of a profiled command line.
const { readlinkSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { threadId } = require('node:worker_threads')

const folder = process.env.PROFILE_FOLDER

/** `program`: main, job or engine. */
exports.register = (program) => {
  if (folder === undefined || process.platform !== 'linux') return
  // such as 123/task/456
  const id = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
  writeFileSync(join(folder, `thread-${threadId}.json`), JSON.stringify({ threadId, id, program }))
}
