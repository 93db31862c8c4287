import { badInput } from '../errors.ts'
import { quoted } from '../formats/quote.ts'
import { HEADER_BYTE_LIMIT } from '../formats/safetensors-header.ts'
import { JsonError, type JsonReader, jsonReader } from '../formats/strict-json.ts'
import { readTextFile } from './text-file.ts'
import type { FileIdentity } from './types.ts'

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

/** `model.safetensors.index.json`, or with a variant: `model.safetensors.index.fp16.json`. */
export const isIndexName = (name: string) => /\.safetensors\.index(\.[^.]+)?\.json$/.test(name)

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
