import { basename, dirname, join } from 'node:path'
import { badInput } from '../errors.ts'
import { entriesOf, kindOf, pathsBelow } from '../io/files.ts'
import { readTextIfThere } from '../io/source.ts'
import { counted, quoted } from '../text/quote.ts'

/** Where the process runs, as far as finding the Hugging Face cache needs it. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The user's home folder. */
  readonly home: string
}

/** A commit hash has 40 characters; a file of this size is none. */
const REF_BYTE_LIMIT = 1024

/** Snapshots, what is in them, and what is in the folders of a pipeline. */
const SNAPSHOT_LEVELS = 3

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

/** A folder, and the names of what is in it, sorted. */
export interface ListedFolder {
  readonly folder: string
  readonly entries: readonly string[]
}

/**
 * The folder that a path means: itself, or a snapshot of the repository of the Hugging Face cache that it is, or that it names:
 * `org/name`, or a bare name that is there. Undefined where it means a file. Throws `bad-input` where that repository isn't in the
 * cache or not whole.
 */
export async function folderMeant(
  path: string,
  surroundings: Surroundings,
): Promise<ListedFolder | undefined> {
  const cache = hubCacheFolder(surroundings)
  const inCache = repositoryFolder(cache, path)
  const isFullName = isRepositoryName(path)
  const isName = isFullName || isBareName(path)
  const kind = await kindOf(path)
  const isCached = isName && kind === 'missing' && (await kindOf(inCache)) === 'folder'
  if (isFullName && kind === 'missing' && !isCached) {
    throw badInput(
      `${path}: no such file or folder, and no such model in the Hugging Face cache (${cache}); check the path, or download it: hf download ${path}`,
      { file: path },
    )
  }
  if (kind !== 'folder' && !isCached) return undefined
  let folder = path
  if (isCached) folder = inCache
  const entries = await entriesOf(folder)
  const isRepository =
    entries.includes('snapshots') && (entries.includes('refs') || entries.includes('blobs'))
  if (!isCached && !isRepository) return { folder, entries }
  const below = await pathsBelow(join(folder, 'snapshots'), SNAPSHOT_LEVELS)
  const main = await readTextIfThere(join(folder, 'refs', 'main'), REF_BYTE_LIMIT)
  const snapshot = chosenSnapshot(folder, below, main?.text.trim())
  const names = below.filter((path) => dirname(path) === snapshot).map((path) => basename(path))
  return { folder: join(folder, 'snapshots', snapshot), entries: names }
}

/**
 * The snapshot of a repository: what refs/main names, else the only one there is. Throws `bad-input` where that isn't there, or can't
 * be told, and where it has no weights and another has: a newer config or tokenizer was fetched since, and which of the two is
 * meant isn't for us to say.
 */
function chosenSnapshot(repository: string, below: readonly string[], commit: string | undefined): string {
  const snapshots = below.filter((path) => !path.includes('/'))
  const hasWeights = (snapshot: string) =>
    below.some((path) => path.startsWith(`${snapshot}/`) && /\.safetensors$/i.test(path))
  if (commit !== undefined) {
    const isThere = snapshots.includes(commit)
    if (isThere && hasWeights(commit)) return commit
    const whole = snapshots.filter(hasWeights)
    if (isThere && whole.length === 0) return commit
    const others =
      whole.length === 0 ? '' : `, or name a folder in snapshots/ that has weights: ${listed(whole)}`
    throw badInput(
      `${repository}: refs/main names the snapshot ${quoted(commit)}, which ${isThere ? 'holds no weights' : "isn't there"}: the download is incomplete; fetch it again (hf download)${others}`,
      { file: repository },
    )
  }
  if (snapshots.length === 1) return snapshots[0]
  throw badInput(
    snapshots.length === 0
      ? `${repository}: holds no snapshot: the download is incomplete; fetch it again (hf download)`
      : `${repository}: holds ${counted(snapshots.length, 'snapshot')} and no refs/main; name one of the folders in snapshots/: ${listed(snapshots)}`,
    { file: repository },
  )
}

const listed = (snapshots: readonly string[]) => snapshots.slice(0, LISTED_SNAPSHOTS).map(quoted).join(', ')
