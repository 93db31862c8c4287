import { access, copyFile, readFile, realpath, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { badInput, errnoOf, LoraSvdError, osError } from '../../errors.ts'
import { makeFolders } from '../make-folders.ts'
import { checkLength } from '../ranges.ts'
import { temporaryName } from '../temporary.ts'
import { type HubPlace, isAddress, isCommit, parseHubAddress } from './address.ts'
import { fetchBlob, isDigest } from './blob.ts'
import { pinned } from './hub.ts'
import { inAnyNetwork, network } from './network.ts'
import { describe } from './source.ts'

/**
 * What is read of the Hub, kept as Hugging Face's tools keep it (huggingface_hub/file_download.py of 18 August 2026):
 *
 *     models--org--name/blobs/<etag>               the files, by what is in them
 *     models--org--name/snapshots/<commit>/<path>  links to them; the files themselves where links can't be made
 *     models--org--name/refs/<revision>            the commit that a branch or tag meant last
 *
 * Their locks (`.locks`, by flock) only save them from fetching a file twice. That no file is ever half there rests, with them as here, on
 * each process writing under a name of its own, and on renaming what is whole.
 */

/** What the folder of a repository is called in the cache. */
export const cachedName = (repository: string) => `models--${repository.replace('/', '--')}`

/** A file of the Hub that lies in the cache. */
export interface CachedFile {
  /** The address that it is read as. */
  readonly address: string
  readonly file: string
}

/** Whether what an address names comes over the network when it is read. */
export const comesByNetwork = (path: string): boolean => isAddress(path) && !network().cached.has(path)

/**
 * A file of the Hub from the cache, where this run keeps what it reads: fetched whole if it isn't there. Undefined where nothing is kept.
 * Throws as `openRemote` does, `bad-input` for a file past `limit`, and `system` where it can't be written or what comes isn't what the Hub
 * says it is.
 */
export const cachedFile = (given: string, limit?: number): Promise<CachedFile | undefined> =>
  inAnyNetwork(async () => {
    const { cached, bringing, keepsIn } = network()
    const known = cached.get(given)
    if (known !== undefined) return { address: given, file: known }
    if (keepsIn === undefined) return undefined
    const address = await pinned(given)
    if (!address.startsWith('hf://')) return undefined
    const under = bringing.get(address) ?? broughtHere(address, keepsIn, limit)
    bringing.set(address, under)
    try {
      const file = await under
      // what can't be kept isn't asked for again
      if (file === undefined) return undefined
      cached.set(address, file)
      bringing.delete(address)
      return { address, file }
    } catch (error) {
      bringing.delete(address)
      throw error
    }
  })

/** An error over a whole file of the Hub that was read from the cache: it says where that lies, as fetching it again begins with deleting it. */
export async function pointingIntoCache(error: unknown): Promise<unknown> {
  if (!(error instanceof LoraSvdError) || error.code !== 'bad-input') return error
  const { file, tensor, rule, cause, message } = error
  const pointer = file === undefined ? undefined : network().cached.get(file)
  if (file === undefined || pointer === undefined || tensor !== undefined || rule !== undefined) return error
  const blob = await realpath(pointer).catch(() => pointer)
  return badInput(`${message} (read from ${blob}: delete that to have it fetched anew)`, { file, cause })
}

async function broughtHere(
  address: string,
  cache: string,
  limit: number | undefined,
): Promise<string | undefined> {
  const place = parseHubAddress(address)
  const { repository, revision: commit, path } = place
  const folder = join(cache, cachedName(repository))
  const pointer = join(folder, 'snapshots', commit, ...path.split('/'))
  if (!(await isThere(pointer))) {
    const found = await describe(address)
    checkLength(address, found.stamp.bytes, limit)
    const etag = blobName(found.linkedEtag ?? found.stamp.version)
    if (etag === undefined) return unkept(address)
    const blob = join(folder, 'blobs', etag)
    await makeFolders(dirname(blob))
    await makeFolders(dirname(pointer))
    const length = await lengthOf(blob)
    const isNew = length !== found.stamp.bytes
    // what isn't as long as the Hub says is no longer what was kept, or another file that a server gave the same ETag
    if (length !== undefined && isNew && !isDigest(etag)) return unkept(address)
    if (isNew) await fetchBlob(address, found, blob)
    await doing('keep it', pointer, () => point(pointer, blob, isNew))
  }
  await noteRevisions(folder, place)
  return pointer
}

function unkept(address: string): undefined {
  network().notice(`${address}: has no ETag by which it could be kept, and is read by ranges`)
}

/** The length of a file in bytes, links followed; undefined where there is none. */
const lengthOf = (path: string) =>
  stat(path).then(
    ({ size }) => size,
    () => undefined,
  )

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  )

/** An ETag as the name of a file (_normalize_etag); undefined of one that can't be. */
function blobName(etag: string): string | undefined {
  const name = etag.replace(/^W\//, '').replace(/^"|"$/g, '')
  return /^[\w-]{1,128}$/.test(name) ? name : undefined
}

/** File systems and accounts that can make no links say so with one of these. */
const NO_LINKS = new Set(['EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'])

/** Makes a name in a snapshot mean a blob, at once: a link, or where there can be none the file itself (_create_symlink). */
async function point(pointer: string, blob: string, isNew: boolean): Promise<void> {
  const temporary = join(dirname(pointer), temporaryName())
  try {
    if (!(await isLinked(relative(dirname(pointer), blob), temporary))) {
      if (isNew) return await rename(blob, pointer)
      await copyFile(blob, temporary)
    }
    await rename(temporary, pointer)
  } finally {
    await rm(temporary, { force: true })
  }
}

async function isLinked(target: string, link: string): Promise<boolean> {
  if (!network().mayLink) return false
  try {
    await symlink(target, link)
    return true
  } catch (error) {
    if (NO_LINKS.has(errnoOf(error) ?? '')) return false
    throw error
  }
}

/** Notes what the branches and tags that were asked for mean now, as far as that is new. Where it can't be written, all else is there. */
async function noteRevisions(folder: string, { repository, revision: commit }: HubPlace): Promise<void> {
  for (const [key, meant] of network().pins) {
    const revision = key.slice(repository.length + 1)
    if (!key.startsWith(`${repository}@`) || meant !== commit || isCommit(revision)) continue
    if (revision.split('/').some((part) => /^\.{0,2}$|[\\\0]/.test(part))) continue
    const ref = join(folder, 'refs', ...revision.split('/'))
    const before = await readFile(ref, 'utf8').catch(() => undefined)
    if (before === commit) continue
    const temporary = join(dirname(ref), temporaryName())
    try {
      await makeFolders(dirname(ref))
      await writeFile(temporary, commit)
      await rename(temporary, ref)
    } catch {
      await rm(temporary, { force: true })
    }
  }
}

/** Does something with a file of the cache. Throws its error as one of ours. */
async function doing<T>(what: string, file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof LoraSvdError) throw error
    throw osError(error, what, file)
  }
}
