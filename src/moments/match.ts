import { plainName } from '../checkpoint/correspondence.ts'
import { elementCount } from '../checkpoint/read.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { badInput, LoraSvdError } from '../errors.ts'
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
  /** Which of a stack of experts it is, and of how many. */
  readonly expert?: number
  readonly experts?: number
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
    for (const { name, ...stack } of namesOf(layer)) {
      const entry = file.entries.get(name)
      if (entry !== undefined) return momentsOf(file.path, entry, layer, stack)
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

/** Which expert of how many: undefined of a layer that is none, and where the model doesn't say how many there are. */
interface InStack {
  readonly expert?: number | undefined
  readonly experts?: number | undefined
}

interface Name extends InStack {
  readonly name: string
}

type Naming = (layer: WeighedLayer) => readonly Name[]

const plainNames: Naming = ({ tensors, expert, experts }) =>
  [...new Set([...tensors, ...tensors.map(plainName)])].map((name) => ({ name, expert, experts }))

/** The parts of a fused module have one input. */
const inLlamaNames =
  (model: GgufModel): Naming =>
  ({ tensors, rows, columns, isTransposed, expert, experts = model.experts }) =>
    tensors.map(plainName).flatMap((tensor): Name[] => {
      const path = tensor.replace(/\.weight$/, '')
      const outputs = isTransposed ? columns : rows
      const place =
        expert === undefined ? ggufPlace(path, outputs, model) : ggufStackPlace(path, outputs, expert, model)
      return 'parts' in place
        ? place.parts.map((part) => ({ name: part.tensor, expert: part.expert, experts }))
        : []
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
  { expert, experts }: InStack,
): LayerMoments | undefined {
  const { name, kind, tensor, divisors, samples, isFlat } = entry
  const inputs = inputsOf(layer)
  const one = kind === 'full' ? [inputs, inputs] : [inputs]
  const entries = product(one)
  const count = expert === undefined ? 1 : (experts ?? elementCount(tensor) / entries)
  const isOne = isSameBut1(tensor.shape, one)
  const stack = isFlat === true ? [count * entries] : [count, ...one]
  if (!isOne && !(expert !== undefined && expert < count && isSameBut1(tensor.shape, stack))) {
    const takes = counted(inputs, 'input')
    const isExpert = expert !== undefined && experts !== undefined
    const expected = isExpert
      ? `is one of ${counted(experts, 'expert')}, each of ${takes}: moments of ${shapeText([experts, ...one])}, or of ${shapeText(one)} for all of them, are expected`
      : `takes ${takes}: moments of ${shapeText(one)} are expected`
    throw badInput(
      `${path}: ${quoted(name)} is ${shapeText(tensor.shape)}, and ${quoted(layer.tensors[0])} ${expected}; are they of this model?`,
      { file: path, tensor: name },
    )
  }
  const parts = isOne ? 1 : count
  if (samples !== undefined && samples.length !== 1 && samples.length !== parts) {
    throw badInput(
      `${path}: ${quoted(name)} has ${counted(samples.length, 'count')} of inputs, and is the moments of ${counted(parts, 'matrix').replace(/matrixs$/, 'matrices')}: one count, or one for each, is expected; make the moments again`,
      { file: path, tensor: name },
    )
  }
  const at = isOne ? 0 : expert!
  const divisor = divisors[divisors.length === 1 ? 0 : at]
  if (!(divisor > 0)) return undefined
  const seen = samples?.[samples.length === 1 ? 0 : at]
  return {
    ...{ path, name: parts > 1 ? `${name}[${at}]` : name, kind, inputs, divisor, tensor },
    from: at * entries,
    side: layer.isTransposed ? 'rows' : 'columns',
    ...(seen !== undefined && { samples: seen }),
  }
}

const product = (shape: readonly number[]) => shape.reduce((all, n) => all * n, 1)

/** Whether two shapes are the same but for ones around what they say. */
function isSameBut1(a: readonly number[], b: readonly number[]): boolean {
  const [x, y] = [a, b].map((shape) => shape.filter((n) => n !== 1))
  return x.length === y.length && x.every((n, i) => n === y[i])
}
