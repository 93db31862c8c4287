import { isSameForm } from '../../checkpoint/matrices.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import { type KeptTensor, keptOf } from '../../combine/kept.ts'
import type { LoaderGap } from '../../convert/convert.ts'
import { exactName } from '../../convert/wholes.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { type Destination, isAside } from './destination.ts'
import type { ExtractSettings } from './options.ts'
import { noWhole } from './placing.ts'
import type { LeftOut } from './plan.ts'
import type { Carrying } from './saved.ts'

/** A tensor whose difference is stored as it is. */
export interface ExactPart {
  /** In the file: ComfyUI's `.diff` and `.diff_b` (comfy/lora.py, load_lora @2025-10-12). */
  readonly name: string
  readonly base: StoredTensor
  readonly tuned: StoredTensor
}

/**
 * Which of the tensors that no factors carry are stored as differences, and what stays left out: what wasn't asked for, and with the reason
 * what the format has no place for.
 */
export function chooseExact(
  left: readonly LeftOut[],
  { format, layouts }: Destination,
  { isAskedWhole }: Pick<Carrying, 'isAskedWhole'>,
  { carryRest }: Pick<ExtractSettings, 'carryRest'>,
): { readonly exact: readonly ExactPart[]; readonly notCarried: readonly LeftOut[] } {
  const exact: ExactPart[] = []
  const notCarried: LeftOut[] = []
  for (const one of left) {
    const { name, tuned, because } = one
    const isOut = isAside(because) || because.kind === 'computed'
    if (isOut || tuned === undefined || !(carryRest || isAskedWhole(name))) {
      notCarried.push(one)
      continue
    }
    const found = format === 'comfyui' ? exactPart(one, layouts) : noWhole(format)
    if (typeof found === 'string') notCarried.push({ ...one, notWhole: found })
    else exact.push(found)
  }
  return { exact, notCarried }
}

function exactPart({ base, tuned }: LeftOut, layouts: Destination['layouts']): ExactPart | string {
  if (base === undefined || tuned === undefined) return 'ComfyUI changes only what the model has'
  if (!isSameForm(base.shape, tuned.shape)) return 'ComfyUI adds to a weight what has its shape'
  if (readableFloatOf(base.dtype) === undefined || readableFloatOf(tuned.dtype) === undefined)
    return 'no difference of floats'
  for (const layout of layouts) {
    const name = exactName({ name: base.name, how: 'add', tensor: tuned }, layout)
    if (name !== undefined) return { name, base, tuned }
  }
  return 'has no place of its own in ComfyUI’s names'
}

const DIFFUSERS = 'diffusers: loaders/lora_conversion_utils.py, lora_pipeline.py @2026-08-23'

/** What other loaders than ComfyUI do with differences. */
export function exactGaps(exact: readonly ExactPart[], layouts: Destination['layouts']): LoaderGap[] {
  if (exact.length === 0) return []
  const modules = exact.map(({ name }) => name)
  const isUnet = layouts.some(({ family }) => family.component === 'unet')
  const isLoadedBy = (loader: LoaderGap['loader']) =>
    layouts.some(({ family }) => family.loaders.some((one) => one === loader))
  const gaps: LoaderGap[] = [
    {
      loader: 'diffusers',
      effect: isUnet ? 'refused' : 'dropped',
      reason: isUnet
        ? 'diffusers refuses a U-Net’s adapter with any tensor that is no factor'
        : 'diffusers reads factors, and of differences those of some biases alone',
      source: DIFFUSERS,
      modules,
    },
    {
      loader: 'kohya',
      effect: 'dropped',
      reason: 'kohya reads factors alone',
      source: 'sd-scripts: networks/lora.py @2026-02-16',
      modules,
    },
  ]
  return gaps.filter(({ loader }) => isLoadedBy(loader))
}

/** The difference as it is stored: in float32, which tells tuned from base to the last bit of any narrower type. */
export const keptDifference = ({ name, base, tuned }: ExactPart): KeptTensor => {
  const part = (tensor: StoredTensor, factor: number) =>
    ({ name, how: 'add', target: name, tensor, factor, path: name }) as const
  return { ...keptOf([part(tuned, 1), part(base, -1)]), dtype: 'F32' }
}
