import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { LoraSvdError, osError } from '../../errors.ts'
import { isLeftBehind, temporaryName } from '../temporary.ts'
import { askFor } from './hub.ts'
import { network } from './network.ts'
import { endedEarly, get, persistently } from './request.ts'
import { assertSame, type Described, ifRange } from './source.ts'

/** A file of the Hub, fetched whole to its place in the cache, and what came of it kept where it isn't whole yet. */

/** The ending of what nobody writes in any more, until another goes on with it. */
const UNFINISHED = '.lora-svd.incomplete'

/** Bytes that are read at once of what is there already. */
const CHUNK = 2 ** 20

/**
 * Fetches a file to `blob`, whose name is its ETag. What an earlier process left of it is gone on with. Throws as reading it would,
 * and `system` where it can't be written or isn't what its ETag says.
 */
export async function fetchBlob(address: string, described: Described, blob: string): Promise<void> {
  const { bytes } = described.stamp
  const own = blob + temporaryName()
  const handle = await opened(blob, own)
  try {
    const digest = digestOf(basename(blob), bytes)
    const begun = await resumed(handle, bytes, digest)
    await filled(address, described, begun, async (chunk, at) => {
      await written(handle, chunk, at, blob)
      digest?.hash.update(chunk)
    })
    await handle.sync()
    await handle.close()
    const found = digest?.hash.digest('hex')
    if (found !== undefined && found !== basename(blob)) {
      await rm(own, { force: true })
      throw new LoraSvdError(
        'system',
        `${address}: what came is not what the Hub says it is (${digest!.name} ${found}, not ${basename(blob)}), and is not kept; try again later`,
        { file: address },
      )
    }
    await rename(own, blob).catch((error: unknown) => {
      throw osError(error, 'give it its name', blob)
    })
  } catch (error) {
    await handle.close().catch(() => {})
    await rename(own, blob + UNFINISHED).catch(() => {})
    throw error
  }
}

/** A file of this process's own: what another that is gone has left, or a new one. Renaming gives it to one process alone. */
async function opened(blob: string, own: string): Promise<FileHandle> {
  const [folder, etag] = [dirname(blob), basename(blob)]
  try {
    for (const name of await readdir(folder)) {
      if (!name.startsWith(`${etag}.lora-svd`)) continue
      const path = join(folder, name)
      if (name !== etag + UNFINISHED && !(await isLeftBehind(name.slice(etag.length), path))) continue
      const isOurs = await rename(path, own).then(
        () => true,
        () => false,
      )
      if (isOurs) return await open(own, 'r+')
    }
    return await open(own, 'wx+')
  } catch (error) {
    throw osError(error, 'keep it', blob)
  }
}

/** Whether an ETag tells what is in its file. */
export const isDigest = (etag: string): boolean => digestOf(etag, 0) !== undefined

/** What a file's ETag is the digest of: of a large file its SHA-256, of others git's name of them, the SHA-1 of length and content. */
function digestOf(etag: string, bytes: number): { readonly name: string; readonly hash: Hash } | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) return { name: 'SHA-256', hash: createHash('sha256') }
  if (/^[0-9a-f]{40}$/.test(etag)) {
    return { name: "git's SHA-1", hash: createHash('sha1').update(`blob ${bytes}\0`) }
  }
  return undefined
}

/** How many bytes are there already, all of which the digest then has. More than the file can have are none. */
async function resumed(
  handle: FileHandle,
  bytes: number,
  digest: { readonly hash: Hash } | undefined,
): Promise<number> {
  const { size } = await handle.stat()
  if (size > bytes) {
    await handle.truncate(0)
    return 0
  }
  const buffer = new Uint8Array(Math.min(CHUNK, size))
  let at = 0
  while (digest !== undefined && at < size) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
    digest.hash.update(buffer.subarray(0, bytesRead))
    at += bytesRead
  }
  return size
}

/** Gives `use` the bytes of a file from `begun` on; after a connection that broke from the byte on at which it did. */
async function filled(
  address: string,
  { stamp }: Described,
  begun: number,
  use: (chunk: Uint8Array, at: number) => Promise<void>,
): Promise<void> {
  const asked = await askFor(address)
  const { received } = network()
  let at = begun
  if (at === stamp.bytes) return
  await persistently(address, (progressed) => {
    const range = { start: at, end: stamp.bytes }
    return get({ ...asked, range, version: ifRange(stamp) }, undefined, async (answer) => {
      assertSame(answer, range, stamp, asked)
      for await (const chunk of answer.chunks) {
        const part = chunk.subarray(0, stamp.bytes - at)
        await use(part, at)
        at += part.length
        received(part.length)
        progressed()
        if (at === stamp.bytes) return
      }
      throw endedEarly()
    })
  })
}

async function written(handle: FileHandle, bytes: Uint8Array, at: number, file: string): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) {
      done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten
    }
  } catch (error) {
    throw osError(error, 'write it', file)
  }
}
