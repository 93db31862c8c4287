import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs'
import { link, lstat, unlink } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { badInput, errnoOf, LoraSvdError, osError } from '../errors.ts'
import {
  beforeEnd,
  isSamePlace,
  livenessOf,
  type ProcessIdentity,
  temporaryName,
  thisProcess,
} from './temporary.ts'

/**
 * Which process a run folder belongs to. The owners form a chain of files that only ever grows: `lock` names the first, with a
 * random token of its own, and `lock-<token>` names the one that came after that. The last of the chain owns the folder. To take over
 * from an owner that is gone is to make the one file that can follow it, which a single process succeeds in; no file of another is
 * deleted or moved, so nothing that was judged can be swapped before it is acted upon. The chain goes when the folder goes.
 */
export interface RunLock {
  /** Names what this process alone writes. */
  readonly token: string
  /** Throws `system` where the folder is another's by now, or gone. */
  assertHeld(): Promise<void>
  /** Lets another process work here. May be called twice. */
  release(): void
  /** No longer writes into the folder, which is about to be removed; others don't get it. */
  stop(): void
}

/** An owner shows that it lives by writing its file anew this often, in milliseconds: no load on any file server. */
const HEARTBEAT = 20_000

/**
 * An owner that can't be seen from here (on another host, in another container) counts as gone so long after its last sign of
 * life, in milliseconds: 45 signs missed. A machine that sleeps longer finds its folder taken, and says so.
 */
export const GONE_AFTER = 15 * 60_000

/** How long an owner that can't be seen from here is believed to live. */
export interface Patience {
  /** Milliseconds of silence after which it counts as gone. */
  readonly goneAfter: number
  /** Waits that long, rather than refuse, after it was told; an abort ends the waiting. An owner that gives a sign meanwhile lives. */
  readonly wait?: { readonly notice: (line: string) => void; readonly signal?: AbortSignal }
}

/** Between two looks at an owner that is waited for, in milliseconds. */
const LOOKS_EVERY = 500

/** More owners than any run has had; a chain that goes in a circle ends here. */
const MOST_OWNERS = 10_000

/** Tries to take a folder that others take and leave meanwhile, before it is called a failure. */
const MOST_TRIES = 50

/** Bytes of an owner's file: fixed, so that it is written anew in place and never shorter or longer. */
const RECORD_BYTES = 512

const FIRST = 'lock'

export const LOCK_FILE = /^lock(-[0-9a-z]+)?(\.new)?$/

interface Owner extends ProcessIdentity {
  readonly token: string
  readonly released: boolean
}

/** The last of a chain. */
interface Holder {
  readonly path: string
  readonly owner: Owner | undefined
  /** What names its successor. */
  readonly token: string
  readonly modifiedMs: number
}

/** Tokens of the locks that this process holds. */
const held = new Set<string>()

/** Takes a folder for this process. Throws `bad-input` where another works in it; ENOENT where the folder is gone. */
export async function lockFolder(
  folder: string,
  patience: Patience = { goneAfter: GONE_AFTER },
): Promise<RunLock> {
  const token = randomBytes(12).toString('hex')
  const fresh = `${folder}/${FIRST}-${token}.new`
  const own = writeRecord(fresh, token, folder)
  // the file system's own time, which need not be this machine's
  const began = fstatSync(own).mtimeMs - performance.now()
  const now = () => began + performance.now()
  let taken: number | undefined
  // before others can find it: to them a lock of this process that it doesn't know of is left over
  held.add(token)
  try {
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const last = await lastOwner(folder)
      if (last !== undefined) await untilGone(last, now, folder, patience)
      const path = `${folder}/${last === undefined ? FIRST : `${FIRST}-${last.token}`}`
      const file = await claim(own, fresh, path, token, folder)
      if (file === undefined) continue
      // where the folder was removed and made anew since, this follows nobody in it
      if ((await lastOwner(folder))?.token === token) {
        taken = file
        return holding(folder, file, token, patience)
      }
      if (last !== undefined) await unlink(path).catch(() => {})
      if (file !== own) closeSync(file)
    }
  } finally {
    if (taken === undefined) held.delete(token)
    if (taken !== own) closeSync(own)
    await unlink(fresh).catch(() => {})
  }
  throw new LoraSvdError('system', `${folder}: can't be taken, others keep taking it; try again`, {
    file: folder,
  })
}

function holding(folder: string, file: number, token: string, { goneAfter }: Patience): RunLock {
  // by its descriptor: under the path may be another's, once this folder was removed
  const beat = setInterval(() => {
    // a failure shows when assertHeld is asked, before anything depends on it
    write(file, recordOf(token, false), 0, RECORD_BYTES, 0, () => fdatasync(file, () => {}))
  }, HEARTBEAT).unref()
  const stop = (record?: Uint8Array) => {
    if (!held.delete(token)) return
    clearInterval(beat)
    forget()
    try {
      if (record !== undefined) writeSync(file, record, 0, RECORD_BYTES, 0)
      closeSync(file)
    } catch {
      // others see that this process is gone
    }
  }
  const release = () => stop(recordOf(token, true))
  const forget = beforeEnd(release)
  return {
    token,
    release,
    stop: () => stop(),
    assertHeld: async () => {
      const last = await lastOwner(folder).catch(() => undefined)
      if (last?.token === token) return
      throw new LoraSvdError(
        'system',
        `${folder}: is no longer this process's: it was removed, or another took it after ${goneAfter / 60_000} minutes without a sign of life; run the same command again`,
        { file: folder },
      )
    },
  }
}

const recordOf = (token: string, released: boolean) =>
  Buffer.from(JSON.stringify({ token, released, ...thisProcess() }).padEnd(RECORD_BYTES))

/** Makes an owner's file, whole on the disk. Gives its descriptor. */
function writeRecord(path: string, token: string, folder: string): number {
  let file: number | undefined
  try {
    file = openSync(path, 'wx', 0o644)
    writeSync(file, recordOf(token, false))
    fsyncSync(file)
    return file
  } catch (error) {
    if (file !== undefined) {
      closeSync(file)
      unlinkQuietly(path)
    }
    throw failed(error, folder)
  }
}

/** Gives the file its place in the chain, unless another has it. Gives the descriptor of what stands there. */
async function claim(own: number, fresh: string, path: string, token: string, folder: string) {
  try {
    await link(fresh, path)
    return own
  } catch (error) {
    // a server may have done it and its answer been lost: then the call that was repeated finds its own file (open(2), O_EXCL)
    if (errnoOf(error) === 'EEXIST') return (await isSameFile(own, path)) ? own : undefined
    if (errnoOf(error) === 'ENOENT') throw error
  }
  // a file system without hard links: for an instant the file is empty, and then nobody takes over from it
  try {
    return writeRecord(path, token, folder)
  } catch (error) {
    const cause = error instanceof LoraSvdError ? error.cause : error
    if (errnoOf(cause) === 'EEXIST') return undefined
    throw error
  }
}

const isSameFile = (file: number, path: string): Promise<boolean> => {
  const { dev, ino } = fstatSync(file, { bigint: true })
  return lstat(path, { bigint: true }).then(
    (found) => found.dev === dev && found.ino === ino,
    () => false,
  )
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // what failed before is what is reported
  }
}

/** The owner at the end of the chain; undefined where there never was one. */
async function lastOwner(folder: string): Promise<Holder | undefined> {
  let last: Holder | undefined
  for (let count = 0; count < MOST_OWNERS; count++) {
    const next = await readOwner(`${folder}/${last === undefined ? FIRST : `${FIRST}-${last.token}`}`, folder)
    if (next === undefined) return last
    last = next
  }
  throw badInput(`${folder}: its lock has more than ${MOST_OWNERS} owners; delete the folder`, {
    file: folder,
  })
}

async function readOwner(path: string, folder: string): Promise<Holder | undefined> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw failed(error, folder)
  })
  if (found === undefined) return undefined
  if (!found.isFile()) {
    throw badInput(`${path}: is not a file, so no run made it; delete it, or write to another --out`, {
      file: path,
    })
  }
  const owner = parsed(readPlainFile(path, folder))
  return { path, owner, token: owner?.token ?? `unreadable${found.ino}`, modifiedMs: found.mtimeMs }
}

/** Neither follows a link nor waits for a pipe. '' where it is gone. */
function readPlainFile(path: string, folder: string): string {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0))
  } catch (error) {
    throw failed(error, folder)
  }
  try {
    return fstatSync(file).size > 2 * RECORD_BYTES ? '' : readFileSync(file, 'utf8')
  } catch (error) {
    throw failed(error, folder)
  } finally {
    closeSync(file)
  }
}

function parsed(text: string): Owner | undefined {
  try {
    const found = JSON.parse(text)
    const isOwner =
      /^[0-9a-f]{8,64}$/.test(found.token) &&
      [found.host, found.boot, found.pidNamespace, found.started].every((part) => typeof part === 'string') &&
      Number.isInteger(found.pid)
    return isOwner ? { ...found, released: found.released === true } : undefined
  } catch {
    return undefined
  }
}

const livenessOfLast = ({ owner }: Holder) =>
  owner === undefined ? 'unknown' : owner.released ? 'gone' : livenessOfHolder(owner)

/** Returns once an owner is gone, or has to be taken for gone. Throws `bad-input` where it is alive, or may be and isn't waited for. */
async function untilGone(
  last: Holder,
  now: () => number,
  folder: string,
  { goneAfter, wait }: Patience,
): Promise<void> {
  const isSilent = () => now() - last.modifiedMs > goneAfter
  const liveness = livenessOfLast(last)
  if (liveness === 'gone' || (liveness === 'unknown' && isSilent())) return
  if (liveness === 'unknown' && wait !== undefined) {
    wait.notice(`${inUse(last, now(), folder, goneAfter)}; waiting for that`)
    // by the clock that can't be set, too: by the other a sign of life may lie in the future
    const began = performance.now()
    const wasWatched = () => performance.now() - began > goneAfter
    while (!isSilent() && !wasWatched()) {
      await setTimeout(LOOKS_EVERY, undefined, wait.signal && { signal: wait.signal }).catch(() => {})
      wait.signal?.throwIfAborted()
      const next = await lastOwner(folder)
      // another came, or this one let go: judged anew
      if (next?.token !== last.token || next.owner?.released === true) return
      if (next.modifiedMs !== last.modifiedMs) break
    }
    if (isSilent() || wasWatched()) return
  }
  const delete_ = `delete ${last.path}`
  const doubt = liveness === 'alive' ? `if that is no lora-svd, ${delete_}` : `if it is gone, ${delete_}`
  throw badInput(
    `${inUse(last, now(), folder, goneAfter)}; wait for it, or write to another --out (${doubt})`,
    {
      file: folder,
    },
  )
}

/**
 * Who is at work in a folder, as words; undefined where nobody is. One that can't be seen from here is taken to be until it has been silent
 * for `goneAfter` milliseconds by the clock of the file system, which a new file in `clock` tells. Without `clock` it is taken to be gone.
 */
export async function workerIn(
  folder: string,
  goneAfter: number,
  clock: string | undefined,
): Promise<string | undefined> {
  const last = await lastOwner(folder).catch(() => undefined)
  if (last === undefined) return undefined
  const liveness = livenessOfLast(last)
  if (liveness === 'alive') return `process ${last.owner!.pid}`
  if (liveness === 'gone' || clock === undefined) return undefined
  const now = timeIn(clock)
  const who = last.owner === undefined ? 'a process' : `process ${last.owner.pid} on ${last.owner.host}`
  if (now === undefined) return `${who}, which cannot be seen from here`
  const silence = now - last.modifiedMs
  if (silence > goneAfter) return undefined
  return `${who}, which cannot be seen from here, and gave a sign of life ${Math.max(0, Math.round(silence / 1000))} s ago`
}

/** The file system's own time; undefined where nothing can be written. */
function timeIn(folder: string): number | undefined {
  const path = `${folder}/${temporaryName()}`
  try {
    const file = openSync(path, 'wx', 0o600)
    const { mtimeMs } = fstatSync(file)
    closeSync(file)
    return mtimeMs
  } catch {
    return undefined
  } finally {
    unlinkQuietly(path)
  }
}

/** Who is at work, or may be, as the beginning of a sentence. */
function inUse(last: Holder, now: number, folder: string, goneAfter: number): string {
  const { owner, modifiedMs } = last
  if (livenessOfLast(last) === 'alive') return `${folder}: process ${owner!.pid} is at work here`
  const seconds = Math.max(0, Math.round((now - modifiedMs) / 1000))
  const limit = `it counts as gone ${goneAfter / 60_000} minutes after its last sign of life, which was ${seconds} s ago`
  const hidden = owner !== undefined && !isSamePlace(owner) ? ', which cannot be seen from here,' : ''
  const who =
    owner === undefined
      ? 'a process that has left no readable lock'
      : `process ${owner.pid} on ${owner.host}${hidden}`
  return `${folder}: ${who} may be at work here: ${limit}`
}

/** This process itself holds a lock as long as it has not released it. */
function livenessOfHolder(owner: Owner) {
  const liveness = livenessOf(owner)
  if (liveness !== 'gone' && isSamePlace(owner) && owner.pid === process.pid)
    return held.has(owner.token) ? 'alive' : 'gone'
  return liveness
}

/** ENOENT is passed on: the folder, or the file, has just been removed. */
const failed = (error: unknown, folder: string) =>
  errnoOf(error) === 'ENOENT' ? error : osError(error, 'take it for this run', folder)
