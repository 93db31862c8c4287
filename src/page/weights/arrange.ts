import { ADAPTER_CONFIG_FILE, ADAPTER_FILE, isIndexName } from '../../checkpoint/folder.ts'
import { badUsage } from '../../errors.ts'
import { basename } from '../host/node/path.ts'
import type { Chosen, Inputs } from './inputs.ts'

/** A file as it was dropped or chosen: its path begins at what was dropped. */
export interface Entry {
  readonly path: string
  readonly file: File
}

/** Whatever lies beside weights and holds none. */
const ASIDE = /(^\.|\.(json|md|txt|jinja|model|py|png|jpe?g|svg|ya?ml|gitattributes)$)/i
/** Matrices as text may be called .txt, where nothing else is there. */
const TEXT = /\.txt$/i

const isFolder = ({ path }: Entry) => path.includes('/')
const folderOf = ({ path }: Entry) => path.slice(0, path.indexOf('/'))

/** The shards that an index among the files stands for, as far as names tell. */
const isShard = (name: string) => /-\d+-of-\d+\.safetensors$/.test(name)

function grouped(entries: readonly Entry[], keyOf: (entry: Entry) => string): Map<string, Entry[]> {
  const groups = new Map<string, Entry[]>()
  for (const entry of entries) {
    const key = keyOf(entry)
    groups.set(key, [...(groups.get(key) ?? []), entry])
  }
  return groups
}

/** What tells that a folder is a checkpoint itself, or that the rooms know what to do with the folders in it. */
const OF_CHECKPOINT =
  /\.(safetensors|npz|npy|csv|tsv|gguf)$|^model_index\.json$|\.safetensors\.index(\.[^.]+)?\.json$/i
const REPOSITORY = ['snapshots', 'refs', 'blobs']
/** A base and its tuned weights. */
const MOST_INNER = 2

/** A folder, or the one or two in it that hold weights where it holds none itself: browsers let one choose a single folder. */
function foldersMeant(folder: string, entries: readonly Entry[]): string[] {
  const inner = entries.map(({ path }) => path.slice(folder.length + 1).split('/'))
  const isItself = inner.some(
    (parts) => (parts.length === 1 && OF_CHECKPOINT.test(parts[0])) || REPOSITORY.includes(parts[0]),
  )
  const holding = new Set(
    inner.flatMap((parts) => (parts.length === 2 && OF_CHECKPOINT.test(parts[1]) ? parts[0] : [])),
  )
  if (isItself || holding.size === 0 || holding.size > MOST_INNER) return [folder]
  return [...holding].map((name) => `${folder}/${name}`)
}

/** What was dropped, thing by thing: a folder each, an index with its shards, a file with the config that speaks of it. */
export function thingsIn(entries: readonly Entry[]): Chosen[] {
  const things = new Map<string, Entry[]>()
  for (const [folder, of] of grouped(entries.filter(isFolder), folderOf)) {
    for (const path of foldersMeant(folder, of)) things.set(path, of)
  }
  const loose = entries.filter((entry) => !isFolder(entry))
  const hasIndex = loose.some(({ path }) => isIndexName(path))
  const doors = loose.filter(
    ({ path }) => isIndexName(path) || !(ASIDE.test(path) || (hasIndex && isShard(path))),
  )
  const own = doors.length > 0 ? doors : loose.filter(({ path }) => TEXT.test(path))
  // whatever it is, the rooms say why they can't read it
  const named = own.length > 0 ? own : loose.slice(0, things.size > 0 ? 0 : 1)
  // configs and shards may belong to any of them
  for (const { path } of named) things.set(path, loose)
  return [...things].map(([path, of]) => ({
    path,
    files: of.map((entry) => [entry.path, entry.file] as const),
  }))
}

const isAdapter = ({ path, files }: Chosen) =>
  files.length > 0 &&
  (basename(path) === ADAPTER_FILE ||
    files.some(([file]) => file.startsWith(`${path}/`) && /(^|\/)adapter_config\.json$/.test(file)) ||
    (/lora|adapter/i.test(basename(path)) && !/base/i.test(basename(path))))

const TUNED = /tuned|fine.?tune|(^|[^a-z])(ft|sft|dpo|instruct|chat|it)([^a-z]|$)/i
const BASE = /base|orig|pre.?train/i

/** When the files of a thing were changed last; what lies loose beside it may be another's. */
const age = ({ path, files }: Chosen) =>
  Math.max(
    0,
    ...files.flatMap(([name, { lastModified }]) =>
      name === path || name.startsWith(`${path}/`) ? [lastModified] : [],
    ),
  )

/** How much speaks for the first being the base of the second. */
function baseness(first: Chosen, second: Chosen): number {
  const names = [first, second].map(({ path }) => basename(path))
  const says = (pattern: RegExp, name: string) => (pattern.test(name) ? 1 : 0)
  const byAdapter = (isAdapter(second) ? 1 : 0) - (isAdapter(first) ? 1 : 0)
  const byName = says(BASE, names[0]) - says(BASE, names[1]) + says(TUNED, names[1]) - says(TUNED, names[0])
  return 4 * byAdapter + 2 * byName + Math.sign(age(second) - age(first))
}

/** Which of two things is the base of the other: by adapters, by names, by which is older. */
const inOrder = ([a, b]: readonly [Chosen, Chosen]): Inputs =>
  baseness(a, b) >= 0 ? { weights: b, base: a } : { weights: a, base: b }

export interface Arranged {
  readonly inputs: Inputs | undefined
  /** Whether the page chose which of two is the base. */
  readonly isGuessed: boolean
}

/**
 * What is to be looked at, of what was dropped as weights and as their base. Two things in one place are a base and its tuned weights. Throws
 * `bad-usage` where there are more.
 */
export function arranged(weights: readonly Entry[], base: readonly Entry[]): Arranged {
  const [ours, theirs] = [thingsIn(weights), thingsIn(base)]
  const all = [...ours, ...theirs]
  if (all.length > 2 || theirs.length > 1) {
    const names = all.map(({ path }) => path)
    throw badUsage(
      `${all.length} things are here (${names.slice(0, 4).join(', ')}${names.length > 4 ? ', …' : ''}), and two at most are looked at together: weights, and the base that they came from`,
    )
  }
  if (ours.length === 0) return { inputs: undefined, isGuessed: false }
  if (ours.length === 2) return { inputs: apart(inOrder([ours[0], ours[1]])), isGuessed: true }
  const [only] = ours
  return {
    inputs: theirs.length === 0 ? { weights: only } : apart({ weights: only, base: theirs[0] }),
    isGuessed: false,
  }
}

/** Two things that are called the same get the name of their part before it. */
function apart({ weights, base }: Inputs): Inputs {
  const taken = new Set(weights.files.map(([path]) => path))
  const isSameFile = ([path, file]: readonly [string, File]) =>
    weights.files.some(([other, one]) => other === path && one === file)
  const clash = base?.files.some((entry) => taken.has(entry[0]) && !isSameFile(entry))
  if (base === undefined || !clash) return { weights, ...(base && { base }) }
  return { weights: within('tuned', weights), base: within('base', base) }
}

const within = (folder: string, { path, files }: Chosen): Chosen => ({
  path: `${folder}/${path}`,
  files: files.map(([name, file]) => [`${folder}/${name}`, file] as const),
})

/** The other way round. */
export const swapped = ({ weights, base }: Inputs): Inputs =>
  base === undefined ? { weights } : { weights: base, base: weights }

/** The file that says of what an adapter is, which a browser's dialogue for files easily leaves behind. */
export const lacksConfig = ({ path, files }: Chosen): boolean =>
  basename(path) === ADAPTER_FILE && !files.some(([name]) => basename(name) === ADAPTER_CONFIG_FILE)
