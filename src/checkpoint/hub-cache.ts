import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput } from '../errors.ts'
import { errnoOf } from '../io/os-error.ts'
import { counted, quoted } from '../text/quote.ts'
import { readTextFile } from './folder.ts'

/** Where the process runs, as far as finding the Hugging Face cache needs it. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The user's home folder. */
  readonly home: string
}

/** A commit hash has 40 characters; a file of this size is none. */
const REF_BYTE_LIMIT = 1024

/** Snapshots listed at most: they must fit one line. */
const LISTED_SNAPSHOTS = 3

/** `org/name` as the Hugging Face hub allows it (huggingface_hub/utils/_validators.py). */
export const isRepositoryName = (text: string) =>
  /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/.test(text) && !/--|\.\./.test(text)

/** A name without an organisation, as the hub's oldest models have: gpt2. */
export const isBareName = (text: string) => isRepositoryName(`org/${text}`)

/**
 * The folder in which Hugging Face's tools keep what they download, by their own rules (huggingface_hub/constants.py).
 */
export function hubCacheFolder({ env, home }: Surroundings): string {
  const expanded = (path: string) => (/^~(?=\/|$)/.test(path) ? join(home, path.slice(1)) : path)
  const own = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE
  if (own) return expanded(own)
  if (env.HF_HOME) return join(expanded(env.HF_HOME), 'hub')
  const caches = env.XDG_CACHE_HOME ? expanded(env.XDG_CACHE_HOME) : join(home, '.cache')
  return join(caches, 'huggingface', 'hub')
}

/** The folder of a repository in the cache, whether or not it is there. */
export const repositoryFolder = (cache: string, repository: string) =>
  join(cache, `models--${repository.replace('/', '--')}`)

/** Whether these are the entries of a repository's folder in a cache. */
export const isRepositoryFolder = (entries: readonly string[]) =>
  entries.includes('snapshots') && (entries.includes('refs') || entries.includes('blobs'))

/**
 * The snapshot of a repository's folder in a cache: what refs/main names, else the only one there is. Throws `bad-input`
 * where that isn't there, or can't be told, and where it has no weights and another has: a newer config or tokenizer was
 * fetched since, and which of the two is meant isn't for us to say.
 */
export async function snapshotFolder(repository: string): Promise<string> {
  const folder = join(repository, 'snapshots')
  const snapshots = (await entriesOf(folder)).sort()
  const commit = await mainCommit(repository)
  if (commit !== undefined) {
    const isThere = snapshots.includes(commit)
    if (isThere && (await hasWeights(join(folder, commit)))) return join(folder, commit)
    const whole = await filtered(snapshots, (snapshot) => hasWeights(join(folder, snapshot)))
    if (isThere && whole.length === 0) return join(folder, commit)
    const others =
      whole.length === 0
        ? ''
        : `, or name a folder in snapshots/ that has weights: ${whole.slice(0, LISTED_SNAPSHOTS).map(quoted).join(', ')}`
    throw badInput(
      `${repository}: refs/main names the snapshot ${quoted(commit)}, which ${isThere ? 'holds no weights' : "isn't there"}: the download is incomplete; fetch it again (hf download)${others}`,
      { file: repository },
    )
  }
  if (snapshots.length === 1) return join(folder, snapshots[0])
  const listed = snapshots.slice(0, LISTED_SNAPSHOTS).map(quoted).join(', ')
  throw badInput(
    snapshots.length === 0
      ? `${repository}: holds no snapshot: the download is incomplete; fetch it again (hf download)`
      : `${repository}: holds ${counted(snapshots.length, 'snapshot')} and no refs/main; name one of the folders in snapshots/: ${listed}`,
    { file: repository },
  )
}

/** Whether there are weights in a snapshot, or in one of its folders, as a pipeline has them. */
async function hasWeights(snapshot: string): Promise<boolean> {
  const isWeights = (name: string) => /\.safetensors$/i.test(name)
  const entries = await entriesOf(snapshot)
  if (entries.some(isWeights)) return true
  for (const name of entries) if ((await entriesOf(join(snapshot, name))).some(isWeights)) return true
  return false
}

async function filtered<T>(all: readonly T[], isKept: (one: T) => Promise<boolean>): Promise<T[]> {
  const kept: T[] = []
  for (const one of all) if (await isKept(one)) kept.push(one)
  return kept
}

async function mainCommit(repository: string): Promise<string | undefined> {
  const file = join(repository, 'refs', 'main')
  try {
    await stat(file)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
  }
  return (await readTextFile(file, REF_BYTE_LIMIT)).text.trim()
}

async function entriesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch {
    return []
  }
}
