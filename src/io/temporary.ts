import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync, type Stats } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { errnoOf } from '../errors.ts'

/**
 * A process as others can recognise it who share a folder with it and perhaps nothing else: neither the machine nor, on the
 * same machine, the namespace in which process ids are counted.
 */
export interface ProcessIdentity {
  readonly host: string
  /** Of this start of the machine; '' where the system has none. */
  readonly boot: string
  /** The namespace of process ids, as of a container; '' where the system has none. */
  readonly pidNamespace: string
  readonly pid: number
  /** When the process began, in the kernel's ticks since the machine did; '' where it can't be told. */
  readonly started: string
}

/** 'unknown': from here it can't be seen. */
export type Liveness = 'alive' | 'gone' | 'unknown'

let known: ProcessIdentity | undefined

export function thisProcess(): ProcessIdentity {
  known ??= {
    host: hostname(),
    boot: textOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
    pidNamespace: textOf(() => readlinkSync('/proc/self/ns/pid')),
    pid: process.pid,
    started: statOf(process.pid)?.started ?? '',
  }
  return known
}

/** Whether process ids mean the same to that process as to this one. */
export function isSamePlace(other: Omit<ProcessIdentity, 'pid' | 'started'>): boolean {
  const { host, boot, pidNamespace } = thisProcess()
  return other.host === host && other.boot === boot && other.pidNamespace === pidNamespace
}

/** Whether a process still runs, as far as it can be seen from here. */
export function livenessOf(other: ProcessIdentity): Liveness {
  if (!isSamePlace(other)) return 'unknown'
  if (!(other.pid > 0)) return 'gone'
  try {
    // signal 0 only asks
    process.kill(other.pid, 0)
  } catch (error) {
    // EPERM: another user's, but there
    if (errnoOf(error) !== 'EPERM') return 'gone'
  }
  const found = statOf(other.pid)
  if (found === undefined || other.started === '') return 'unknown'
  return found.hasEnded || found.started !== other.started ? 'gone' : 'alive'
}

/**
 * What /proc says of a process: field 3, its state, and field 22, when it started (proc_pid_stat(5)). The name in field 2 may
 * hold anything, parentheses too. Undefined where /proc is missing, hides the process, or counts another namespace's ids.
 */
function statOf(pid: number): { hasEnded: boolean; started: string } | undefined {
  if (textOf(() => readlinkSync('/proc/self')) !== String(process.pid)) return undefined
  const text = textOf(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  if (fields.length < 20) return undefined
  // a zombie was killed, and only its parent hasn't asked after it yet
  return { hasEnded: /^[ZX]/.test(fields[0]), started: fields[19] }
}

function textOf(read: () => string): string {
  try {
    return read().trim()
  } catch {
    return ''
  }
}

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
    if (await isLeftBehind(name, path)) {
      await rm(path, { recursive: true, force: true }).catch(() => {})
    }
  }
}

/** Whether what has such a name, or one that ends so, was left by a process that is gone. */
export const isLeftBehind = async (name: string, path: string): Promise<boolean> =>
  isTemporaryName(name) && isLeftover(name, path)

async function isLeftover(name: string, path: string): Promise<boolean> {
  const [, where, pid, started] = TEMPORARY.exec(name)!
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined || isForeign(found)) return false
  if (where === place()) {
    const liveness = livenessOf({ ...thisProcess(), pid: Number(pid), started })
    if (liveness !== 'unknown') return liveness === 'gone'
  }
  return Date.now() - found.mtimeMs > ABANDONED_AFTER
}

/** Whether a file or folder is another user's; false where the system has no users. */
export const isForeign = ({ uid }: Pick<Stats, 'uid'>) =>
  process.geteuid !== undefined && uid !== process.geteuid()

interface Endings {
  /** What is to be done before a signal ends the process. */
  readonly actions: Set<() => void>
  /** Who wants to know whether there is any of it. */
  tell(isThere: boolean): void
}

/** Each command is a bundle of its own, with a copy of this module, and it is another that a signal reaches: both find the same here. */
const ENDINGS = Symbol.for('lora-svd/endings')
const thread = globalThis as { [ENDINGS]?: Endings }
thread[ENDINGS] ??= { actions: new Set(), tell: () => {} }
const endings = thread[ENDINGS]

/**
 * Registers what has to happen before a signal ends the process at once: nothing in it is awaited, and it must not throw. Gives what
 * takes it back.
 */
export function beforeEnd(action: () => void): () => void {
  endings.actions.add(action)
  if (endings.actions.size === 1) endings.tell(true)
  return () => {
    if (endings.actions.delete(action) && endings.actions.size === 0) endings.tell(false)
  }
}

/** Does what was registered, before the process ends. */
export function runBeforeEnd(): void {
  for (const action of endings.actions) action()
}

/** Calls `listener` when there begins to be something to do before the process ends, and when there is nothing any more. */
export function whenSomethingIsLeft(listener: (isThere: boolean) => void): void {
  endings.tell = listener
}
