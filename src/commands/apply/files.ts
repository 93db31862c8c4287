import { basename } from 'node:path'
import { isIndexName } from '../../checkpoint/folder.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import { badUsage } from '../../errors.ts'
import { bitsPerElement } from '../../formats/safetensors-dtype.ts'
import { layoutSafetensors } from '../../formats/safetensors-writer.ts'
import { addTo, compareUtf8 } from '../../text/compare.ts'
import type { ApplyPlan, OutputTensor } from './plan.ts'

/** A file of tensors that is written: its header, and where each tensor begins. */
export interface OutputFile {
  readonly name: string
  readonly header: Uint8Array
  readonly byteLength: number
  readonly tensors: readonly PlacedTensor[]
}

export interface PlacedTensor {
  readonly tensor: OutputTensor
  readonly begin: number
  readonly bytes: number
}

export interface OutputFiles {
  /** By their paths in the output. */
  readonly files: readonly OutputFile[]
  /** The index of shards, where there is one; of a pipeline one for each component that has. */
  readonly indices: readonly TextFile[]
}

interface TextFile {
  readonly name: string
  readonly text: string
}

/** Metadata that speaks of the bytes of another file. */
const OF_OTHER_BYTES = /hash/i

/**
 * Where everything goes: sharded like the base, with the names of its files, or in shards of so many bytes; each component of a pipeline
 * in its folder. Throws `bad-usage` where a single file would have to become several.
 */
export function outputFiles(
  { base, tensors }: ApplyPlan,
  maxShardSize: number | undefined,
  output: string,
): OutputFiles {
  const { components, metadata } = base
  if (base.folder === undefined) {
    if (maxShardSize !== undefined) {
      throw badUsage('--max-shard-size is for a base that is a folder: of a single file comes a single file')
    }
    return { files: [layout(basename(output), tensors, ownMetadata(metadata))], indices: [] }
  }
  if (components === undefined) {
    const index = base.files.map(({ path }) => basename(path)).find(isIndexName)
    return modelFiles({ metadata, index }, tensors, maxShardSize)
  }
  const parts = components.map((component) => {
    const { name } = component
    const own = tensors
      .filter(({ home }) => home.startsWith(`${name}/`))
      .map((tensor) => withinComponent(name, tensor))
    const { files, indices } = modelFiles(component, own, maxShardSize)
    const below = <F extends { readonly name: string }>(file: F): F => ({
      ...file,
      name: `${name}/${file.name}`,
    })
    return { files: files.map(below), indices: indices.map(below) }
  })
  return { files: parts.flatMap(({ files }) => files), indices: parts.flatMap(({ indices }) => indices) }
}

/** A tensor of a component as its own folder has it. */
const withinComponent = (component: string, tensor: OutputTensor): OutputTensor => ({
  ...tensor,
  name: tensor.name.slice(component.length + 1),
  home: tensor.home.slice(component.length + 1),
})

const ownMetadata = (metadata: ReadonlyMap<string, string>) =>
  new Map([...metadata].filter(([key]) => !OF_OTHER_BYTES.test(key)))

/** The files of one model's folder. */
function modelFiles(
  {
    metadata,
    index,
  }: { readonly metadata: ReadonlyMap<string, string>; readonly index?: string | undefined },
  tensors: readonly OutputTensor[],
  maxShardSize: number | undefined,
): OutputFiles {
  const shards =
    maxShardSize === undefined ? byHome(tensors) : bySize(tensors, maxShardSize, stemOf(tensors, index))
  const files = [...shards].map(([name, own]) => layout(name, own, ownMetadata(metadata)))
  const isSharded = maxShardSize === undefined ? index !== undefined : files.length > 1
  if (!isSharded) return { files, indices: [] }
  const name = index ?? `${stemOf(tensors, index)}.safetensors.index.json`
  return { files, indices: [{ name, text: indexText(files) }] }
}

/** The files of the base, each with its own tensors. */
function byHome(tensors: readonly OutputTensor[]): Map<string, OutputTensor[]> {
  const shards = new Map<string, OutputTensor[]>()
  for (const tensor of tensors) addTo(shards, tensor.home, tensor)
  return shards
}

/** Shards that are filled one after the other, in the order of the base; a tensor that is larger than one has one for itself. */
function bySize(tensors: readonly OutputTensor[], most: number, stem: string): Map<string, OutputTensor[]> {
  const shards: OutputTensor[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const tensor of tensors) {
    const own = bytesOf(tensor)
    if (bytes + own > most) {
      shards.push([])
      bytes = 0
    }
    shards.at(-1)!.push(tensor)
    bytes += own
  }
  const number = (n: number) => String(n).padStart(5, '0')
  const nameOf = (i: number) =>
    shards.length === 1
      ? `${stem}.safetensors`
      : `${stem}-${number(i + 1)}-of-${number(shards.length)}.safetensors`
  return new Map(shards.map((own, i) => [nameOf(i), own]))
}

/** `model`, or what a model of diffusers calls its files. */
function stemOf(tensors: readonly OutputTensor[], indexName: string | undefined): string {
  const name = indexName ?? tensors[0].home
  return name.startsWith('diffusion_pytorch_model') ? 'diffusion_pytorch_model' : 'model'
}

export const bytesOf = ({ dtype, shape }: OutputTensor): number =>
  (shape.reduce((product, n) => product * n, 1) * bitsPerElement(dtype)) / 8

const NO_BYTES = new Uint8Array(0)

function layout(
  name: string,
  tensors: readonly OutputTensor[],
  metadata: ReadonlyMap<string, string>,
): OutputFile {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const {
    header,
    byteLength,
    tensors: ordered,
  } = layoutSafetensors(
    tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape, data: NO_BYTES })),
    metadata,
  )
  let begin = header.length
  const placed = ordered.map(({ name }) => {
    const tensor = byName.get(name)!
    const bytes = bytesOf(tensor)
    begin += bytes
    return { tensor, begin: begin - bytes, bytes }
  })
  return { name, header, byteLength, tensors: placed }
}

/** model.safetensors.index.json as transformers writes it: sorted, with the bytes of all tensors. */
function indexText(files: readonly OutputFile[]): string {
  const all = files.flatMap(({ name, tensors }) =>
    tensors.map(({ tensor, bytes }) => ({ name, tensor, bytes })),
  )
  const total = all.reduce((sum, { bytes }) => sum + bytes, 0)
  const weightMap = Object.fromEntries(
    all.map(({ name, tensor }) => [tensor.name, name] as const).sort(([a], [b]) => compareUtf8(a, b)),
  )
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }, null, 2)}\n`
}

/** Whether the output is one file and no folder. */
export const isSingleFile = ({ folder }: Checkpoint) => folder === undefined
