import { type Command, InvalidArgumentError, Option } from 'commander'
import { LoraSvdError } from '../errors.ts'
import { parseSeed } from '../random/seedrandom.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { parseBytes, parseCount } from '../text/numbers.ts'
import { ALPHA_ZERO_KIND, CERTIFY, COMMON, HEADER, type Kind, LIMITS, RULES } from './options.ts'

/** Runs the work of a command: gives it the terminal, reports its error, and makes its number the exit code. */
export type Run = (work: (terminal: Terminal) => Promise<number>) => Promise<void>

/** Parsers of option values for commander: each throws InvalidArgumentError with what it expected, as half a sentence. */

/** Reads an integer of this kind, written in decimal. */
export const integerOf =
  (kind: Kind) =>
  (text: string): number =>
    valid(kind, /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN)

/** Reads a number of this kind. */
export const numberOf =
  (kind: Kind) =>
  (text: string): number =>
    valid(kind, text.trim() === '' ? Number.NaN : Number(text))

function valid(kind: Kind, value: number): number {
  if (!kind.isValid(value)) throw new InvalidArgumentError(`expected ${kind.expected}`)
  return value
}

/** Makes a parser of numbers with commas between them; `expected` says which. */
export const numberList =
  (kind: Kind, expected: string) =>
  (text: string): number[] => {
    const numbers = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
    if (kind.isValid(numbers)) return numbers
    throw new InvalidArgumentError(`expected ${expected} with commas between them, such as 0.7,0.3`)
  }

/** A number of bytes: 40MiB, 1.5GB, 512k. */
export const byteSize = (text: string) => parsedBy(parseBytes)(text)

/** A number of parameters: 40M, 1.5B, 400k. */
export const parameterCount = (text: string) => parsedBy(parseCount)(text)

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

/** The rules that choose a rank from one spectrum; the texts say of what the energy is and what the error means. */
export function addRules(command: Command, { energy, error }: { energy: string; error: string }): void {
  command
    .optionsGroup('The rank, by one of:')
    .addOption(new Option('--rank <r>', 'this rank').argParser(integerOf(RULES.rank)))
    .addOption(
      new Option('--energy <share>', `the least rank that keeps this share of ${energy}`).argParser(
        numberOf(RULES.energy),
      ),
    )
    .addOption(new Option('--error <e>', error).argParser(numberOf(RULES.error)))
}

export function addLimits(command: Command): void {
  command
    .optionsGroup('Its limits:')
    .addOption(new Option('--min-rank <r>', 'no rank below this').argParser(integerOf(LIMITS.minRank)))
    .addOption(new Option('--max-rank <r>', 'no rank above this').argParser(integerOf(LIMITS.maxRank)))
    .addOption(
      new Option('--multiple-of <m>', 'round the rank up to a multiple').argParser(
        integerOf(LIMITS.multipleOf),
      ),
    )
}

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
      .choices(COMMON.engine.choices)
      .default('auto')
      .env('LORA_SVD_ENGINE'),
  threads: () =>
    new Option('--threads <n>', 'threads that compute (default: those of this machine)')
      .argParser(integerOf(COMMON.threads))
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
      .choices(CERTIFY.choices)
      .default('default'),
  moments: () =>
    new Option(
      '--moments <file>',
      "second moments of the layers' inputs (safetensors, npz, llama.cpp's imatrix): the error that counts is then that of outputs",
    ),
  seed: () =>
    new Option('--seed <n>', 'seed of the random start').default(0n, '0').argParser(parsedBy(parseSeed)),
  header: () =>
    new Option(
      '--header <is>',
      'whether the first row of a text file is names (default: where none of its cells is like a number)',
    ).choices(HEADER.choices),
  init: () =>
    new Option(
      '--init <folder>',
      'what a PiSSA or OLoRA adapter began with, as PEFT saved it before the training',
    ),
  alpha: (kind: Kind, of = 'an adapter that does not say it') =>
    new Option('--alpha <a>', `alpha of ${of}`).argParser(numberOf(kind)),
  alphaZero: () =>
    new Option(
      '--alpha-zero <is>',
      'what an alpha of 0 in a file means: the rank, as for kohya and LyCORIS, or no change, as for ComfyUI',
    ).choices(ALPHA_ZERO_KIND.choices),
  online: () =>
    new Option(
      '--online',
      'read org/name from the Hub where the cache does not have it; hf:// is always read from there',
    ).default(false),
  cache: () =>
    new Option(
      '--cache',
      "keep each file of hf:// that is opened, whole, in Hugging Face's cache, and read from there what it has",
    ).default(false),
  memory: () => new Option('--memory <size>', 'for the matrices in work, such as 4GiB').argParser(byteSize),
  debug: () => new Option('--debug', 'print the stack trace of an error'),
}
