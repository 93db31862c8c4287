import { badUsage } from '../../errors.ts'

/** What `verify` is asked to do. */
export interface VerifyOptions {
  readonly adapter: string
  readonly base: string
  readonly tuned: string
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  /** The most that a layer's relative error may be; undefined: whatever it is. */
  readonly maxError: number | undefined
  /** Of an adapter that doesn't say it. */
  readonly alpha: number | undefined
  readonly memory: number | undefined
  /** Go on where the two look like one model under two sets of names. */
  readonly allowUnpaired: boolean
}

export interface VerifyFlags {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly maxError?: number
  readonly alpha?: number
  readonly memory?: number
  readonly allowUnpaired: boolean
}

/** What the command line asks for. Throws `bad-usage` where its parts don't go together. */
export function verifyOptions(
  adapter: string,
  base: string,
  tuned: string,
  { include, exclude, maxError, alpha, memory, allowUnpaired }: VerifyFlags,
): VerifyOptions {
  for (const [name, path] of Object.entries({ '<adapter>': adapter, '<base>': base, '<tuned>': tuned })) {
    if (path === '') throw badUsage(`${name} is empty: name a folder or a file`)
  }
  if ([adapter, base, tuned].filter((path) => path === '-').length > 1) {
    throw badUsage('standard input is one file: name the others')
  }
  return { adapter, base, tuned, include, exclude, maxError, alpha, memory, allowUnpaired }
}
