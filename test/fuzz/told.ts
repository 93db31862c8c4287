import { LoraSvdError } from '../../src/errors.ts'
import type { Mutator } from './bytes.ts'

/** What is said of an input besides what is thrown in the end. */
export interface Told {
  /** A part of it was refused. */
  refused(error: LoraSvdError): void
  /** A line for a person: a warning, a finding, a reason. */
  said(line: string): void
}

/** A parser from the bytes that reach it to all that is made of them. */
export interface Target {
  readonly name: string
  /** Reads the input as a user's; throws what a user would get, and tells whatever is said on the way. */
  readonly run: (input: Uint8Array, told: Told) => Promise<unknown>
  readonly mutators: readonly Mutator[]
  /** A machine that fails is an answer too, as of a server. */
  readonly mayBeSystem?: true
  /** Takes many times as long as others, by all that it does with an input. */
  readonly isSlow?: true
}

/** Goes on after a refusal. */
export async function tolerant(told: Told, work: () => unknown): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof LoraSvdError)) throw error
    told.refused(error)
  }
}
