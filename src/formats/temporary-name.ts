import { createHash } from 'node:crypto'
import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { livenessOf, thisProcess } from './process-identity.ts'

/**
 * Names for what lies beside an output until it is whole: `.lora-svd-<place>-<pid>-<start>-<n>.tmp`. They say which process
 * made them, so that what a killed one left can be told from what a living one is writing. The place is a digest of host, boot and
 * namespace of process ids; a process that began in the same tick with the same id at the same place is the same.
 */
const TEMPORARY = /^\.lora-svd-([0-9a-f]{12})-(\d+)-(\d*)-\d+\.tmp$/

/** Left by a process that can't be seen from here (on another host, in another container): ages after the last byte, in ms. */
const ABANDONED_AFTER = 7 * 24 * 3600 * 1000

let count = 0

export function temporaryName(): string {
  const { pid, started } = thisProcess()
  return `.lora-svd-${place()}-${pid}-${started}-${count++}.tmp`
}

const place = () => {
  const { host, boot, pidNamespace } = thisProcess()
  return createHash('sha256')
    .update(JSON.stringify([host, boot, pidNamespace]))
    .digest('hex')
    .slice(0, 12)
}

export const isTemporaryName = (name: string): boolean => TEMPORARY.test(name)

/**
 * Deletes what processes that are gone left in a folder under such names. Only what belongs to this user. Whatever can't be listed
 * or deleted stays: it is in nobody's way.
 */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [])
  for (const name of names) {
    const path = join(folder, name)
    if (isTemporaryName(name) && (await isLeftover(name, path))) {
      await rm(path, { recursive: true, force: true }).catch(() => {})
    }
  }
}

async function isLeftover(name: string, path: string): Promise<boolean> {
  const [, where, pid, started] = TEMPORARY.exec(name)!
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined || (process.geteuid !== undefined && found.uid !== process.geteuid())) return false
  if (where === place()) {
    const liveness = livenessOf({ ...thisProcess(), pid: Number(pid), started })
    if (liveness !== 'unknown') return liveness === 'gone'
  }
  return Date.now() - found.mtimeMs > ABANDONED_AFTER
}
