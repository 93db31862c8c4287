import { elementCount } from '../../checkpoint/read.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { counted, quoted, shapeText } from '../../text/quote.ts'
import { readScalars } from '../factors.ts'
import type { ParsedName } from '../names.ts'

/**
 * What an alpha of 0 is: the rank, as kohya's trainer and loader and LyCORIS take it (kohya-ss/sd-scripts@2026-02-16: networks/lora.py,
 * LoRAModule; KohakuBlueleaf/LyCORIS@2025-10-04: modules/locon.py), so that the scale is 1; or `off`, a scale of 0, as ComfyUI multiplies
 * (comfy/weight_adapter/lora.py @2025-10-12).
 */
export const ALPHA_ZERO = ['rank', 'off'] as const
export type AlphaZero = (typeof ALPHA_ZERO)[number]

interface Said {
  readonly alpha?: number | undefined
  readonly alphaZero?: AlphaZero | undefined
  readonly isStrict?: boolean | undefined
}

/** Whether the user says what an alpha of 0 means. */
export const isSaid = ({ alpha, alphaZero }: Said) => alpha !== undefined || alphaZero !== undefined

type Named = readonly [tensor: StoredTensor, parsed: ParsedName]

/** The numbers of `.alpha` tensors by name. Throws `bad-input` for one of several numbers. */
export function storedAlphas(path: string, named: readonly Named[]): Promise<Map<string, number>> {
  const alphas = named.filter(([, { role }]) => role === 'alpha').map(([tensor]) => tensor)
  const wrong = alphas.find((tensor) => elementCount(tensor) !== 1)
  if (wrong !== undefined) {
    throw badInput(
      `${path}: tensor ${quoted(wrong.name)} has the shape ${shapeText(wrong.shape)}; alpha is one number`,
      { file: path, tensor: wrong.name },
    )
  }
  return readScalars(alphas)
}

/** The tensors of an alpha of 0. */
export const zeroAlphas = (named: readonly Named[], alphas: ReadonlyMap<string, number>): StoredTensor[] =>
  named.flatMap(([tensor]) => (alphas.get(tensor.name) === 0 ? [tensor] : []))

/** Throws `bad-input` where there are such tensors, and nobody says what they mean though that has to be known. */
export function refuseZeros(path: string, zeros: readonly StoredTensor[], said: Said): void {
  const [first] = zeros
  if (first === undefined || !said.isStrict || isSaid(said)) return
  throw badInput(
    `${path}: ${quoted(first.name)} is 0${others(zeros)}, ${DISAGREEMENT}: say which with --alpha-zero rank or --alpha-zero off`,
    { file: path, tensor: first.name },
  )
}

export const zeroWarnings = (zeros: readonly StoredTensor[]): string[] =>
  zeros.length === 0
    ? []
    : [
        `${quoted(zeros[0].name)} is 0${others(zeros)}, ${DISAGREEMENT}; the rank is taken, so that the scale is 1`,
      ]

const DISAGREEMENT = "which kohya's tools and LyCORIS read as the rank, and ComfyUI as no change"
const others = ({ length }: readonly unknown[]) =>
  length === 1 ? '' : `, as ${counted(length - 1, 'other alpha')} ${length === 2 ? 'is' : 'are'}`
