import { type Command, InvalidArgumentError, Option } from 'commander'
import { LoraSvdError } from '../errors.ts'
import { parseSeed } from '../random/seedrandom.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { parseBytes } from '../text/numbers.ts'

/** Parsers of option values for commander: each throws InvalidArgumentError with what it expected, as half a sentence. */

/** An integer from `least` to `most`, written in decimal. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^[+-]?\d+$/.test(text) || value < least || value > most) {
      const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
      throw new InvalidArgumentError(`expected an integer ${range}`)
    }
    return value
  }
}

/** A finite number that `isValid` accepts; `expected` says which those are. */
export function number(expected: string, isValid: (x: number) => boolean): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!Number.isFinite(value) || !isValid(value)) throw new InvalidArgumentError(`expected ${expected}`)
    return value
  }
}

/** A number of bytes: 40MiB, 1.5GB, 512k. */
export const byteSize = (text: string) => parsedBy(parseBytes)(text)

export const nonNegative = number('a number of at least 0', (x) => x >= 0)

/** Makes a parser that throws LoraSvdError speak commander's language. */
export function parsedBy<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      if (error instanceof LoraSvdError) throw new InvalidArgumentError(error.message)
      throw error
    }
  }
}

/** An option that may be given several times: its values in order. */
export const patterns = (flags: string, description: string): Option =>
  new Option(flags, description)
    .argParser((text: string, before: readonly string[]) => [...before, text])
    .default([])

const share = (bounds: string) => number(bounds, (x) => x > 0 && x < 1)

/** The rules that choose a rank from one spectrum; the texts say of what the energy is and what the error means. */
export function addRules(command: Command, { energy, error }: { energy: string; error: string }): void {
  command
    .optionsGroup('The rank, by one of:')
    .addOption(new Option('--rank <r>', 'this rank').argParser(integer(1)))
    .addOption(
      new Option('--energy <share>', `the least rank that keeps this share of ${energy}`).argParser(
        share('a share above 0 and below 1, such as 0.99'),
      ),
    )
    .addOption(
      new Option('--error <e>', error).argParser(share('a number above 0 and below 1, such as 0.05')),
    )
}

export function addLimits(command: Command): void {
  command
    .optionsGroup('Its limits:')
    .addOption(new Option('--min-rank <r>', 'no rank below this').argParser(integer(1)))
    .addOption(new Option('--max-rank <r>', 'no rank above this').argParser(integer(1)))
    .addOption(new Option('--multiple-of <m>', 'round the rank up to a multiple').argParser(integer(1)))
}

/** More threads than any machine this runs on has. */
const MAX_THREADS = 256

/** Options that mean the same in every command. */
export const common = {
  json: () => new Option('--json', 'print one JSON document and nothing else').default(false),
  quiet: () => new Option('-q, --quiet', 'print nothing; the exit code speaks').default(false),
  colour: () => [
    new Option('--color', 'colour even into a pipe'),
    new Option('--no-color', 'no colour even on a terminal'),
  ],
  engine: () =>
    new Option(
      '--engine <name>',
      "what computes: the embedded wasm, the system's lapack, or what suits the work",
    )
      .choices(['auto', 'wasm', 'lapack'])
      .default('auto')
      .env('LORA_SVD_ENGINE'),
  threads: () =>
    new Option('--threads <n>', 'threads that compute (default: those of this machine)')
      .argParser(integer(1, MAX_THREADS))
      .env('LORA_SVD_THREADS'),
  allowUnpaired: () =>
    new Option(
      '--allow-unpaired',
      'go on where the two look like one model under two sets of names; the exit code is then 1',
    ).default(false),
  certify: () =>
    new Option(
      '--certify <how>',
      'default holds but for a chance of 1e-9 a matrix; strict leaves nothing to the seed, and is slower; none saves time, bounds errors from above only, and may take a few ranks too many',
    )
      .choices(['default', 'strict', 'none'])
      .default('default'),
  seed: () =>
    new Option('--seed <n>', 'seed of the random start').default(0n, '0').argParser(parsedBy(parseSeed)),
  header: () =>
    new Option(
      '--header <is>',
      'whether the first row of a text file is names (default: where none of its cells is like a number)',
    ).choices(['yes', 'no']),
  memory: () => new Option('--memory <size>', 'for the matrices in work, such as 4GiB').argParser(byteSize),
  debug: () => new Option('--debug', 'print the stack trace of an error'),
}

/** Runs the work of a command: gives it the terminal, reports its error, and makes its number the exit code. */
export type Run = (work: (terminal: Terminal) => Promise<number>) => Promise<void>
