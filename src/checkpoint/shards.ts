import { basename } from 'node:path'
import { badInput, type LoraSvdError } from '../errors.ts'
import { HEADER_BYTE_LIMIT } from '../formats/safetensors-header.ts'
import { type FileIdentity, identityOf, missingOf } from '../io/files.ts'
import { folderOf, inFolder } from '../io/remote/address.ts'
import { readTextFile } from '../io/source.ts'
import { compareUtf8 } from '../text/compare.ts'
import { counted, quoted } from '../text/quote.ts'
import { JsonError, type JsonReader, jsonReader } from '../text/strict-json.ts'
import type { OpenedFile } from './stored.ts'
import type { StoredTensor } from './types.ts'

/** Names listed at most: they must fit one line. */
const LISTED = 3

/** What `model.safetensors.index.json` says. */
export interface ShardIndex {
  /** The index itself. */
  readonly file: string
  /** The names of the shards, sorted, and in the same order where they are. */
  readonly shards: readonly string[]
  readonly paths: readonly string[]
  /** The name of the shard that holds each tensor. */
  readonly shardOf: ReadonlyMap<string, string>
  /** `metadata.total_size` where it is a number: the bytes of all tensors. */
  readonly totalSize: number | undefined
  readonly identity: readonly FileIdentity[]
}

/** An index lists the tensors that the shards' headers list, so it may be as long as one header. */
const INDEX_BYTE_LIMIT = HEADER_BYTE_LIMIT

/**
 * Reads an index strictly: JSON without duplicate keys, `weight_map` an object of names of files beside the index. Throws
 * `bad-input` for anything else, such as a name that leads out of the folder, and where shards aren't there.
 */
export async function readShardIndex(file: string): Promise<ShardIndex> {
  const { text, stamp } = await readTextFile(file, INDEX_BYTE_LIMIT)
  const { shardOf, totalSize } = parseIndex(text, file)
  if (shardOf === undefined) {
    throw badInput(`${file}: has no "weight_map", which names the shard of each tensor; fetch it again`, {
      file,
    })
  }
  const shards = [...new Set(shardOf.values())].sort(compareUtf8)
  if (shards.length === 0) throw badInput(`${file}: names no tensor; fetch it again`, { file })
  const paths = shards.map((shard) => inFolder(folderOf(file), shard))
  // a link to nothing is there, and opening it tells more
  const missing = await missingOf(paths)
  if (missing.length > 0) throw missingShards(file, shards.length, missing)
  return { file, shards, paths, shardOf, totalSize, identity: identityOf(file, stamp) }
}

function missingShards(file: string, count: number, missing: readonly string[]): LoraSvdError {
  const names = missing.slice(0, LISTED).map((path) => quoted(basename(path)))
  const more = missing.length > LISTED ? ', …' : ''
  return badInput(
    `${file}: names ${counted(count, 'shard')}, of which ${missing.length} ${missing.length === 1 ? 'is' : 'are'} missing: ${names.join(', ')}${more}; fetch what is missing`,
    { file: missing[0] },
  )
}

function parseIndex(text: string, file: string) {
  let shardOf: ReadonlyMap<string, string> | undefined
  let totalSize: number | undefined
  const json = jsonReader(text)
  try {
    json.object((key) => {
      if (key === 'weight_map') {
        if (shardOf !== undefined) json.fail('"weight_map" comes twice')
        shardOf = readWeightMap(json)
      } else if (key === 'metadata' && json.peek() === '{') {
        json.object((field) => {
          const value = json.skip()
          if (field === 'total_size' && Number.isFinite(Number(value))) totalSize = Number(value)
        })
      } else json.skip()
    })
    json.end()
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw badInput(`${file}: is no right index: ${error.message}; correct it or fetch it again`, { file })
  }
  return { shardOf, totalSize }
}

/** Tensors by their names, and what a user should know of them. */
export interface JoinedTensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly warnings: readonly string[]
}

/**
 * The tensors of all shards, checked against their index: each shard holds what the index says it holds, and no tensor is in two.
 * Throws `bad-input` naming index, shard and tensor.
 */
export function joinShards(opened: readonly OpenedFile[], index: ShardIndex): JoinedTensors {
  const placed = joined(index.shards, opened, index.file)
  assertComplete(index, placed)
  return {
    tensors: new Map([...placed].map(([name, { tensor }]) => [name, tensor])),
    warnings: warningsOf(index, placed),
  }
}

type Placed = ReadonlyMap<string, { readonly shard: string; readonly tensor: StoredTensor }>

function joined(shards: readonly string[], opened: readonly OpenedFile[], indexFile: string): Placed {
  const placed = new Map<string, { shard: string; tensor: StoredTensor }>()
  opened.forEach(({ tensors }, i) => {
    for (const tensor of tensors) {
      const before = placed.get(tensor.name)
      if (before !== undefined) {
        throw badInput(
          `${indexFile}: the tensor ${quoted(tensor.name)} is in two shards, ${quoted(before.shard)} and ${quoted(shards[i])}; fetch them again`,
          { file: indexFile, tensor: tensor.name },
        )
      }
      placed.set(tensor.name, { shard: shards[i], tensor })
    }
  })
  return placed
}

function assertComplete({ file: indexFile, shardOf }: ShardIndex, placed: Placed): void {
  for (const [name, shard] of shardOf) {
    const found = placed.get(name)
    if (found?.shard === shard) continue
    const where = found === undefined ? 'no shard holds it' : `it is in ${quoted(found.shard)}`
    throw badInput(
      `${indexFile}: says that the tensor ${quoted(name)} is in ${quoted(shard)}, but ${where}; fetch index and shards again`,
      { file: indexFile, tensor: name },
    )
  }
}

function warningsOf({ file: indexFile, shardOf, totalSize }: ShardIndex, placed: Placed): string[] {
  const warnings: string[] = []
  const unnamed = [...placed.keys()].filter((name) => !shardOf.has(name))
  if (unnamed.length > 0) {
    const more = unnamed.length > LISTED ? ', …' : ''
    warnings.push(
      `${indexFile}: does not name ${counted(unnamed.length, 'tensor')} of its shards, which ${unnamed.length === 1 ? 'is' : 'are'} read too: ${unnamed.slice(0, LISTED).map(quoted).join(', ')}${more}`,
    )
  }
  const bytes = [...placed.values()].reduce((sum, { tensor }) => sum + tensor.bytes, 0)
  if (totalSize !== undefined && totalSize !== bytes) {
    warnings.push(`${indexFile}: says that its tensors take ${totalSize} bytes; they take ${bytes}`)
  }
  return warnings
}

function readWeightMap(json: JsonReader): Map<string, string> {
  const shardOf = new Map<string, string>()
  json.object((tensor) => {
    if (shardOf.has(tensor)) json.fail(`the tensor ${quoted(tensor)} comes twice`)
    const shard = json.string()
    if (!isPlainName(shard)) {
      json.fail(`the shard ${quoted(shard)} of tensor ${quoted(tensor)} is no plain file name`)
    }
    shardOf.set(tensor, shard)
  })
  return shardOf
}

/** A name that can only mean a file of the folder itself, on every system. */
const isPlainName = (name: string) =>
  name !== '' && name !== '.' && !name.includes('..') && !/[/\\\0]|^[A-Za-z]:/.test(name)
