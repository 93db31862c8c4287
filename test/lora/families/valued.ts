import type { Checkpoint } from '../../../src/checkpoint/types.ts'
import { type Layout, layoutOf, partOf } from '../../../src/lora/families/layout.ts'
import { moduleNames } from '../../../src/lora/families/modules.ts'
import type { Fit, Form, Naming, Tensors } from '../../../src/lora/families/types.ts'
import { numbers } from '../../cli/extract-support.ts'
import { checkpointOf, elements, type TestTensor } from '../support.ts'

/** A tensor with numbers. */
export interface Valued {
  readonly shape: readonly number[]
  readonly data: Float64Array
}
export type ValuedTensors = ReadonlyMap<string, Valued>

const rowsOf = ({ shape, data }: Valued, from: number, to: number): Valued => {
  const width = data.length / shape[0]
  return { shape: [to - from, ...shape.slice(1)], data: data.slice(from * width, to * width) }
}

const joined = (parts: readonly Valued[]): Valued => ({
  shape: [parts.reduce((sum, { shape }) => sum + shape[0], 0), ...parts[0].shape.slice(1)],
  data: Float64Array.from(parts.flatMap(({ data }) => [...data])),
})

const swapped = (one: Valued): Valued => {
  const half = one.shape[0] / 2
  return joined([rowsOf(one, half, 2 * half), rowsOf(one, 0, half)])
}

export const transposed = ({ shape: [rows, columns], data }: Valued): Valued => ({
  shape: [columns, rows],
  data: Float64Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]),
})

/** Multiples of 2⁻¹⁰, which products of two and sums of few keep exact in float32. */
export const valued = (shape: readonly number[], seed: number): Valued => ({
  shape,
  data: Float64Array.from(numbers(elements(shape), seed), (x) => Math.round(x * 32) / 32),
})

export const withValues = (tensors: Tensors): ValuedTensors =>
  new Map([...tensors].map(([name, { shape }], i) => [name, valued(shape, i + 1)]))

export function layoutOfValued(tensors: Tensors): Layout {
  const layout = layoutOf(tensors)
  if (layout === undefined) throw new Error('of no family')
  return layout
}

/** The same model with its denoiser in another form, under the prefixes that a pipeline of diffusers has. */
export function asPipeline(tensors: ValuedTensors, form: Form = 'diffusers'): ValuedTensors {
  const layout = layoutOfValued(tensors)
  const rename = layout.family.rename(layout.denoiser, form)
  const other = new Map<string, Valued>()
  for (const [name, tensor] of tensors) {
    const part = partOf(layout, name)
    if (part.kind !== 'denoiser') {
      other.set(name, tensor)
      continue
    }
    for (const { path, rows, swapHalves } of rename(part.path)!) {
      const own = rows === undefined ? tensor : rowsOf(tensor, ...rows)
      other.set(`${layout.family.component}.${path}`, swapHalves ? swapped(own) : own)
    }
  }
  return other
}

/** The factors of a tensor of the base: B [rows, 2] and A [2, columns]. */
export interface TestFactors {
  readonly B: Valued
  readonly A: Valued
}

export const factorsFor = ({ shape }: { readonly shape: readonly number[] }, seed: number): TestFactors => ({
  B: valued([shape[0], 2], seed),
  A: valued([2, elements(shape.slice(1))], seed + 1),
})

/** The factors of a module that is a part of the tensor's rows, or lies otherwise. */
function ofModule({ B, A }: TestFactors, { rows, swapHalves, isTransposed }: Fit): TestFactors {
  if (isTransposed) return { B: transposed(A), A: transposed(B) }
  const own = rows === undefined ? B : rowsOf(B, ...rows)
  return { B: swapHalves ? swapped(own) : own, A }
}

/** Factors for tensors of a base, under a naming's names. Those that the naming has no name for are left out. */
export function adapterTensors(
  base: Tensors,
  naming: Naming,
  factors: ReadonlyMap<string, TestFactors>,
): { readonly tensors: Record<string, TestTensor>; readonly named: readonly string[] } {
  const namer = moduleNames(layoutOfValued(base), naming)
  const tensors: Record<string, TestTensor> = {}
  const named: string[] = []
  for (const [tensor, of] of factors) {
    const { shape } = base.get(tensor)!
    const modules = namer(tensor) ?? []
    if (modules.length > 0) named.push(tensor)
    for (const { name, down, up, hasAlpha, ...fit } of modules) {
      const { B, A } = ofModule(of, fit)
      const kernel = shape.length > 2 && A.shape[1] > shape[1] ? shape.slice(2) : shape.slice(2).map(() => 1)
      const ones = kernel.map(() => 1)
      tensors[name + down] = { shape: [2, A.shape[1] / elements(kernel), ...kernel], data: A.data }
      tensors[name + up] = { shape: [...B.shape, ...ones], data: B.data }
      // half of each product
      if (naming === 'kohya' || hasAlpha) tensors[`${name}.alpha`] = { shape: [], data: Float64Array.of(2) }
    }
  }
  return { tensors, named }
}

/** W + B·A by plain loops. */
export function changed(W: Valued, { B, A }: TestFactors): Float64Array {
  const columns = A.shape[1]
  return W.data.map((x, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns]
    return x + B.data[2 * row] * A.data[column] + B.data[2 * row + 1] * A.data[columns + column]
  })
}

export const checkpointFrom = (tensors: ValuedTensors): Promise<Checkpoint> =>
  checkpointOf({ tensors: Object.fromEntries(tensors) })
