import { dirname, resolve } from 'node:path'
import { badInput } from '../errors.ts'
import { entriesIfAny, kindOf, makeFolderIfMissing, noFolder, sizeIfAny } from '../io/files.ts'
import { digestOfJson, readJsonFile } from '../io/own-folder.ts'
import { isSame, type RunIdentity } from '../io/run-folder.ts'
import { assertWritable, writeTextAtomic } from '../io/write-atomic.ts'
import { firstOf } from '../text/names.ts'
import { counted, quoted } from '../text/quote.ts'
import { version } from '../version.ts'
import { differenceOf } from './difference.ts'
import { fromExactJson, toExactJson } from './exact-json.ts'
import { isShard, type Shard, shardFlags, shardName, shardOfName, shardText } from './shard.ts'

/**
 * What one shard has found of a job that ends in a report: a JSON document, with all numbers as they were. It says which part of which job it
 * is, and its schema is never that of the whole.
 */
export interface PartHead {
  readonly shard: Shard
  /** Of what inputs and options it is: parts of one job have the same. */
  readonly identity: RunIdentity
}

/** A part, and where it was found. */
export interface FoundPart<P extends PartHead> {
  readonly path: string
  readonly part: P
}

/** The document of a part of a command's job, with a digest of all that is in it. */
export function partDocument(command: string, part: PartHead) {
  const fields = { schema: schemaOf(command), version, ...(toExactJson(part) as PartHead) }
  return { ...fields, sha256: digestOfJson(fields) }
}

const schemaOf = (command: string) => `lora-svd/${command}-shard/1`

/** Where a part goes: `out` where that ends in .json, else a file in this folder that is called by the shard. */
export const partPath = (out: string, shard: Shard): string =>
  isPartFile(out) ? out : inFolder(out, `${shardName(shard)}.json`)

const inFolder = (folder: string, name: string) => `${folder.replace(/(?<=.)[/\\]+$/, '')}/${name}`

const isPartFile = (path: string) => path.toLowerCase().endsWith('.json')

/**
 * The part of this very shard and job that an earlier run has left where `out` says. Undefined where nothing is there or `force` replaces it.
 * Throws `output-exists` where something else is, and `bad-input` where that is a part of another job, or nothing can be written.
 */
async function earlierPart<P extends PartHead>(
  command: string,
  out: string,
  { shard, identity }: PartHead,
  force: boolean,
): Promise<P | undefined> {
  const path = partPath(out, shard)
  if (!force && (await kindOf(path)) === 'file') {
    const found = await readPart<P>(command, path).catch(() => undefined)
    const isOfThis = found !== undefined && isSame(found.shard, shard)
    const difference = isOfThis ? differenceOf(found.identity, identity) : undefined
    if (difference !== undefined) {
      throw badInput(
        `${path}: holds this part of other ${difference}; add --force to replace it, or give another --out`,
        { file: path },
      )
    }
    if (isOfThis) return found
  }
  const isMade = isPartFile(out) || (await kindOf(out)) !== 'missing'
  if (isMade) await assertWritable(path, { force })
  else if ((await kindOf(dirname(resolve(out)))) !== 'folder') throw noFolder(out, dirname(out))
  return undefined
}

/** Where a shard's part is kept. */
export interface Kept {
  readonly path: string
  /** Of what this run has written. */
  readonly bytes?: number
}

/**
 * A part, kept where `out` says: what an earlier run of the same shard has left there, else what `find` gives. Throws as `earlierPart` and `find` do,
 * and `system` where it can't be written.
 */
export async function keptPart<P extends PartHead>(
  command: string,
  { out, force }: { readonly out: string | undefined; readonly force: boolean },
  head: PartHead,
  notice: (line: string) => void,
  find: () => Promise<P>,
): Promise<P & { readonly kept?: Kept }> {
  if (out === undefined) return find()
  const earlier = await earlierPart<P>(command, out, head, force)
  if (earlier === undefined) {
    const part = await find()
    return { ...part, kept: await writePart(command, out, part, force) }
  }
  const path = partPath(out, head.shard)
  notice(`${path}: holds this part already; --force computes it anew`)
  return { ...earlier, kept: { path } }
}

/** Writes a part where `out` says, whole or not at all. */
async function writePart(
  command: string,
  out: string,
  part: PartHead,
  force: boolean,
): Promise<{ readonly path: string; readonly bytes: number }> {
  if (!isPartFile(out)) await makeFolderIfMissing(out)
  const path = partPath(out, part.shard)
  const text = `${JSON.stringify(partDocument(command, part))}\n`
  return { path, bytes: await writeTextAtomic(path, text, { force }) }
}

/** A longer text no string holds (V8: 2²⁹ − 24 characters). */
const MOST_BYTES = 2 ** 29 - 24

/** Reads a part as it was written. Throws `bad-input` where it is none of this command and version, or was changed since. */
async function readPart<P extends PartHead>(command: string, path: string): Promise<P> {
  const refused = (why: string) => badInput(`${path}: ${why}`, { file: path })
  const bytes = await sizeIfAny(path)
  if (bytes > MOST_BYTES) throw refused(`is no part of ${command}: it has ${bytes} bytes`)
  const { sha256, ...fields } = (await readJsonFile(path)) ?? {}
  const { schema, error } = fields
  if (typeof schema !== 'string' || !schema.startsWith('lora-svd/')) {
    throw refused(`is no part of ${command}: name files that --shard has written, or their folder`)
  }
  if (typeof error === 'object' && error !== null) {
    throw refused(`is the error of a shard that failed: ${String((error as { message?: unknown }).message)}`)
  }
  if (schema !== schemaOf(command)) {
    throw refused(`is ${quoted(schema)}, and not a part of ${command} as --shard writes it`)
  }
  if (fields.version !== version) {
    throw refused(
      `was written by lora-svd ${String(fields.version)}, and this is ${version}: figures may differ; run all shards and --join with one version`,
    )
  }
  if (sha256 !== digestOfJson(fields) || !isShard(fields.shard)) {
    throw refused('is not as --shard wrote it: some of it is missing or changed; run that shard again')
  }
  return fromExactJson(fields) as P
}

/**
 * All parts of one job, in order, from files and folders of such. Throws `bad-input`, naming it, where one can't be read, is there twice, or
 * is of other inputs, options or a number of shards, and where some are missing.
 */
export async function readParts<P extends PartHead>(
  command: string,
  paths: readonly string[],
): Promise<FoundPart<P>[]> {
  const found: FoundPart<P>[] = []
  const { files, others } = await partFiles(command, paths)
  for (const path of files) found.push({ path, part: await readPart<P>(command, path) })
  const [first] = found
  const { of } = first.part.shard
  const byIndex = new Map<number, FoundPart<P>>()
  for (const one of found) {
    const { shard, identity } = one.part
    const refused = (why: string) => badInput(`${one.path}: ${why}`, { file: one.path })
    if (shard.of !== of) {
      throw refused(
        `is shard ${shardText(shard)}, and ${first.path} is ${shardText(first.part.shard)}: not of one job`,
      )
    }
    const difference = differenceOf(identity, first.part.identity)
    if (difference !== undefined) {
      throw refused(
        `shard ${shardText(shard)} is of other ${difference} than shard ${shardText(first.part.shard)} in ${first.path}; run it again as that was`,
      )
    }
    const twin = byIndex.get(shard.index)
    if (twin !== undefined) {
      throw refused(`is shard ${shardText(shard)}, and so is ${twin.path}: name one of them`)
    }
    byIndex.set(shard.index, one)
  }
  const indices = Array.from({ length: of }, (_, i) => i + 1)
  const missing = indices.filter((index) => !byIndex.has(index))
  if (missing.length > 0) {
    const again = shardFlags(missing.map((index) => ({ index, of })))
    throw badInput(
      `${firstOf(paths)}: ${counted(missing.length, 'part')} of ${of} ${missing.length === 1 ? 'is' : 'are'} missing: run ${again}, then --join${passedOver(others)}`,
    )
  }
  return indices.map((index) => byIndex.get(index)!)
}

/** Parts that were written under names of their own may be among these. */
const passedOver = (others: readonly string[]) =>
  others.length === 0
    ? ''
    : ` (not looked at, as their names are no shard's: ${firstOf(others)}; name such a file itself if it is a part)`

/** The files that are named, and in folders those that are called as shards are; `others` there end in .json too. */
async function partFiles(
  command: string,
  paths: readonly string[],
): Promise<{ readonly files: string[]; readonly others: readonly string[] }> {
  const files: string[] = []
  const others: string[] = []
  for (const path of paths) {
    const kind = await kindOf(path)
    if (kind === 'missing') {
      throw badInput(`${path}: no such file or folder; name the parts that --shard has written`, {
        file: path,
      })
    }
    if (kind === 'file') {
      files.push(path)
      continue
    }
    const names = (await entriesIfAny(path)).filter(isPartFile)
    const inside = names.filter(isPartName).map((name) => inFolder(path, name))
    others.push(...names.filter((name) => !isPartName(name)).map((name) => inFolder(path, name)))
    if (inside.length === 0) {
      throw badInput(
        `${path}: holds no part of ${command}: name the folder in which --shard has left shard-1-of-4.json, or such files`,
        { file: path },
      )
    }
    files.push(...inside)
  }
  const isNamed = new Set(files)
  return { files, others: others.filter((path) => !isNamed.has(path)) }
}

const isPartName = (name: string) => shardOfName(name.slice(0, -'.json'.length)) !== undefined
