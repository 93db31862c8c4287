import { plainName } from '../checkpoint/correspondence.ts'
import { partOf } from '../checkpoint/matrices.ts'
import { elementCount } from '../checkpoint/read.ts'
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts'
import { badInput, LoraSvdError } from '../errors.ts'
import { bitsPerElement } from '../formats/safetensors-dtype.ts'
import { type GgufModel, ggufModel, ggufPlace, ggufStackPlace } from '../lora/write/gguf-names.ts'
import { counted, quoted, shapeText } from '../text/quote.ts'
import type { LayerMoments, MomentEntry, MomentFile } from './types.ts'

/** A layer whose inputs' moments are looked for. */
export interface WeighedLayer {
  /** What its tensor is called, by the model or by either of two checkpoints: the first that the file has holds. */
  readonly tensors: readonly string[]
  /** W as it is stored, [rows, columns]. */
  readonly rows: number
  readonly columns: number
  /** W is stored [in, out]: its inputs are its rows. */
  readonly isTransposed: boolean
  /** Which of a stack of experts it is. */
  readonly expert?: number
}

/** How many inputs a layer takes. */
export const inputsOf = ({ rows, columns, isTransposed }: Omit<WeighedLayer, 'tensors'>): number =>
  isTransposed ? rows : columns

/**
 * The moments of each layer, undefined where the file has none of it. `base` tells the architecture, on which llama.cpp's names hang: the
 * columns of a layer's inputs stand in the order of the checkpoint's, whatever order llama.cpp keeps the rows in. Throws `bad-input` where an entry is of another size
 * than the layer's inputs, and where no layer has moments.
 */
export function matchMoments(
  file: MomentFile,
  layers: readonly WeighedLayer[],
  base: Model,
): (LayerMoments | undefined)[] {
  const namesOf = file.naming === 'checkpoint' ? plainNames : inLlamaNames(ggufModelOf(file, base))
  const found = layers.map((layer) => {
    for (const { name, expert } of namesOf(layer)) {
      const entry = file.entries.get(name)
      if (entry !== undefined) return momentsOf(file.path, entry, layer, expert)
    }
    return undefined
  })
  if (layers.length > 0 && found.every((one) => one === undefined)) throw noneMatches(file, layers, namesOf)
  return found
}

/** What tells the architecture. */
export interface Model {
  readonly path: string
  readonly config?: Checkpoint['config'] | undefined
}

interface Name {
  readonly name: string
  readonly expert?: number | undefined
}

type Naming = (layer: WeighedLayer) => readonly Name[]

const plainNames: Naming = ({ tensors, expert }) =>
  [...new Set([...tensors, ...tensors.map(plainName)])].map((name) => ({ name, expert }))

/** The parts of a fused module have one input. */
const inLlamaNames =
  (model: GgufModel): Naming =>
  ({ tensors, rows, columns, isTransposed, expert }) =>
    tensors.map(plainName).flatMap((tensor): Name[] => {
      const path = tensor.replace(/\.weight$/, '')
      const outputs = isTransposed ? columns : rows
      const place =
        expert === undefined ? ggufPlace(path, outputs, model) : ggufStackPlace(path, outputs, expert, model)
      return 'parts' in place ? place.parts.map((part) => ({ name: part.tensor, expert: part.expert })) : []
    })

function ggufModelOf({ path }: MomentFile, { config, path: base }: Model): GgufModel {
  try {
    return ggufModel(config, base)
  } catch (error) {
    if (!(error instanceof LoraSvdError)) throw error
    const { message } = error
    throw badInput(`${path}: its names are llama.cpp's: ${message}`, { file: path })
  }
}

function noneMatches(file: MomentFile, layers: readonly WeighedLayer[], namesOf: Naming) {
  const [first] = file.entries.keys()
  const names = layers.flatMap((layer) => namesOf(layer).slice(0, 1))
  const expected = names.length > 0 ? `; that of the first layer is called ${quoted(names[0].name)}` : ''
  return badInput(
    `${file.path}: none of its ${counted(file.entries.size, 'entry').replace(/entrys$/, 'entries')} is of a layer here: its first is of ${quoted(first)}${expected}; are the moments of this model?`,
    { file: file.path },
  )
}

/** Of an expert that no input ever reached, nothing is known. */
function momentsOf(
  path: string,
  entry: MomentEntry,
  layer: WeighedLayer,
  expert: number | undefined,
): LayerMoments | undefined {
  const { name, kind, tensor, divisors, samples } = entry
  const columns = inputsOf(layer)
  const entries = kind === 'full' ? columns * columns : columns
  const total = elementCount(tensor)
  const count = total / entries
  const isStack = expert !== undefined && count > 1
  const isFitting = isStack
    ? expert < count && Number.isInteger(count)
    : count === 1 && isShapeOf(entry, columns)
  if (!isFitting) {
    const takes = kind === 'full' ? `${shapeText([columns, columns])}` : shapeText([columns])
    throw badInput(
      `${path}: ${quoted(name)} is ${shapeText(tensor.shape)}, and ${quoted(layer.tensors[0])} takes ${counted(columns, 'input')}: moments of ${takes} are expected; are they of this model?`,
      { file: path, tensor: name },
    )
  }
  const at = isStack ? expert : 0
  const divisor = divisors[divisors.length === 1 ? 0 : at]
  if (!(divisor > 0)) return undefined
  const seen = samples?.[samples.length === 1 ? 0 : at]
  return {
    ...{ path, name: isStack ? `${name}[${at}]` : name, kind, inputs: columns, divisor },
    side: layer.isTransposed ? 'rows' : 'columns',
    tensor: isStack ? partAt(tensor, at, entries) : tensor,
    ...(seen !== undefined && { samples: seen }),
  }
}

/** A full matrix says both its sides; a row of numbers may have ones around it. */
function isShapeOf({ kind, tensor: { shape } }: MomentEntry, columns: number): boolean {
  const sides = shape.filter((n) => n !== 1)
  return kind === 'diagonal' || columns === 1 || (sides.length === 2 && sides.every((n) => n === columns))
}

function partAt(tensor: StoredTensor, index: number, entries: number): StoredTensor {
  const bytes = (entries * bitsPerElement(tensor.dtype)) / 8
  return {
    ...tensor,
    shape: [entries],
    bytes,
    source: partOf(tensor.source, index * bytes, (index + 1) * bytes),
  }
}
