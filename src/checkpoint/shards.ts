import { lstat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { badInput } from '../errors.ts'
import { HEADER_BYTE_LIMIT } from '../formats/safetensors-header.ts'
import { counted, quoted } from '../text/quote.ts'
import { JsonError, type JsonReader, jsonReader } from '../text/strict-json.ts'
import { compareUtf8 } from '../text/suggest.ts'
import { readTextFile } from './folder.ts'
import { type OpenedFile, openSafetensors } from './stored.ts'
import type { FileIdentity, StoredTensor } from './types.ts'

/** Headers read at once: enough to hide a network's delay, few enough for the largest headers to fit in memory. */
const HEADERS_AT_ONCE = 4

/** All headers together: four times the longest single one, some 6 million tensors. */
const HEADERS_BYTE_LIMIT = 400_000_000

/** Names listed at most: they must fit one line. */
const LISTED = 3

export interface ShardedTensors {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: ReadonlyMap<string, string>
  readonly files: readonly FileIdentity[]
  readonly warnings: readonly string[]
}

/**
 * The tensors of all shards that an index names, checked against it: each shard is there and holds what the index says it
 * holds, and no tensor is in two. Throws `bad-input` naming index, shard and tensor. Reads headers alone.
 */
export async function openShards(indexFile: string): Promise<ShardedTensors> {
  const index = await readShardIndex(indexFile)
  const folder = dirname(indexFile)
  const shards = [...new Set(index.shardOf.values())].sort(compareUtf8)
  if (shards.length === 0)
    throw badInput(`${indexFile}: names no tensor; fetch it again`, { file: indexFile })
  await assertThere(indexFile, folder, shards)
  const opened = await openAll(shards.map((shard) => join(folder, shard)))
  const tensors = joined(shards, opened, indexFile)
  assertComplete(index, tensors, indexFile)
  return {
    tensors: new Map([...tensors].map(([name, { tensor }]) => [name, tensor])),
    metadata: opened[0].metadata,
    files: [...opened.flatMap(({ identity }) => identity), ...index.identity],
    warnings: warningsOf(index, tensors, indexFile),
  }
}

async function assertThere(indexFile: string, folder: string, shards: readonly string[]): Promise<void> {
  const missing: string[] = []
  for (const shard of shards) {
    // a link to nothing is there, and opening it tells more
    await lstat(join(folder, shard)).catch(() => missing.push(shard))
  }
  if (missing.length === 0) return
  const more = missing.length > LISTED ? ', …' : ''
  throw badInput(
    `${indexFile}: names ${counted(shards.length, 'shard')}, of which ${missing.length} ${missing.length === 1 ? 'is' : 'are'} missing: ${missing.slice(0, LISTED).map(quoted).join(', ')}${more}; fetch what is missing`,
    { file: join(folder, missing[0]) },
  )
}

/** The files in their order. The first error ends it, and nothing is left open. */
async function openAll(files: readonly string[]): Promise<OpenedFile[]> {
  const opened: OpenedFile[] = new Array(files.length)
  let [next, headerBytes, failed] = [0, 0, false]
  const work = async () => {
    while (next < files.length && !failed) {
      const i = next++
      opened[i] = await openSafetensors(files[i])
      headerBytes += opened[i].headerBytes
      if (headerBytes > HEADERS_BYTE_LIMIT) {
        throw badInput(
          `${files[i]}: the headers up to this shard take ${headerBytes} bytes; at most ${HEADERS_BYTE_LIMIT} are read of one checkpoint`,
          { file: files[i] },
        )
      }
    }
  }
  const workers = Array.from({ length: HEADERS_AT_ONCE }, () =>
    work().catch((error: unknown) => {
      failed = true
      throw error
    }),
  )
  const outcomes = await Promise.allSettled(workers)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  return opened
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

function assertComplete({ shardOf }: ShardIndex, placed: Placed, indexFile: string): void {
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

function warningsOf({ shardOf, totalSize }: ShardIndex, placed: Placed, indexFile: string): string[] {
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

/** What `model.safetensors.index.json` says. */
export interface ShardIndex {
  /** The shard that holds each tensor. */
  readonly shardOf: ReadonlyMap<string, string>
  /** `metadata.total_size` where it is a number: the bytes of all tensors. */
  readonly totalSize: number | undefined
  readonly identity: readonly FileIdentity[]
}

/** An index lists the tensors that the shards' headers list, so it may be as long as one header. */
const INDEX_BYTE_LIMIT = HEADER_BYTE_LIMIT

/**
 * Reads an index strictly: JSON without duplicate keys, `weight_map` an object of names of files beside the index.
 * Throws `bad-input` for anything else, such as a name that leads out of the folder.
 */
export async function readShardIndex(file: string): Promise<ShardIndex> {
  const { text, stamp } = await readTextFile(file, INDEX_BYTE_LIMIT)
  const { shardOf, totalSize } = parseIndex(text, file)
  if (shardOf === undefined) {
    throw badInput(`${file}: has no "weight_map", which names the shard of each tensor; fetch it again`, {
      file,
    })
  }
  return { shardOf, totalSize, identity: stamp === undefined ? [] : [{ path: file, ...stamp }] }
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
