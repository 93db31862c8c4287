import { type Command, Option } from 'commander'
import { parseSeed } from '../../random/seedrandom.ts'
import { integerOf, numberOf, parsedBy, type Run } from '../flags.ts'
import type { DemoFlags } from './document.ts'
import { DEFAULTS, DEMO } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd demo --d 10 --k 10 --rank 2
  lora-svd demo --d 64 --k 48 --rank 4 --truncate 3  # one direction too few
  lora-svd demo --rng torch --draw 2 --show          # the notebook's very W
  lora-svd demo --json | jq .elements.ratio
  lora-svd demo --html notebook.html                 # to play with

Exit codes: 0 y is allclose to yRef · 1 it is not · 2 bad options`

/** `demo`: the notebook's experiment for a d, k, rank and seed of one's own. */
export function addDemo(program: Command, run: Run): void {
  program
    .command('demo')
    .summary('the LoRA notebook, from a low-rank W to its two factors')
    .description(
      'Makes a d × k matrix W of a given rank, finds that rank by its singular values, keeps as many directions ' +
        'as two factors B and A, and checks that (B·A)·x + bias equals W·x + bias.',
    )
    .optionsGroup('The matrix:')
    .addOption(
      new Option('--d <rows>', 'rows of W: output features').default(DEFAULTS.d).argParser(integerOf(DEMO.d)),
    )
    .addOption(
      new Option('--k <columns>', 'columns of W: input features')
        .default(DEFAULTS.k)
        .argParser(integerOf(DEMO.k)),
    )
    .addOption(new Option('--rank <r>', 'rank of W').default(DEFAULTS.rank).argParser(integerOf(DEMO.rank)))
    .addOption(
      new Option('--noise <sigma>', 'add sigma · randn(d, k) to W')
        .default(DEFAULTS.noise)
        .argParser(numberOf(DEMO.noise)),
    )
    .optionsGroup('The random numbers:')
    .addOption(new Option('--seed <n>', 'seed').default(DEFAULTS.seed, '0').argParser(parsedBy(parseSeed)))
    .addOption(
      new Option('--rng <name>', "whose numbers: seedrandom's, or PyTorch's CPU randn")
        .choices(DEMO.rng.choices)
        .default(DEFAULTS.rng),
    )
    .addOption(
      new Option('--draw <n>', 'draw W n times and keep the last')
        .default(DEFAULTS.draw)
        .argParser(integerOf(DEMO.draw)),
    )
    .optionsGroup('The arithmetic:')
    .addOption(
      new Option('--truncate <r>', 'directions to keep (default: rank)').argParser(integerOf(DEMO.truncate)),
    )
    .addOption(
      new Option('--dtype <float>', 'float type of the arithmetic')
        .choices(DEMO.dtype.choices)
        .default(DEFAULTS.dtype),
    )
    .addOption(
      new Option('--rtol <x>', 'relative tolerance of allclose')
        .default(DEFAULTS.rtol, '1e-5')
        .argParser(numberOf(DEMO.rtol)),
    )
    .addOption(
      new Option('--atol <x>', 'absolute tolerance of allclose')
        .default(DEFAULTS.atol)
        .argParser(numberOf(DEMO.atol)),
    )
    .optionsGroup('The report:')
    .addOption(new Option('--show', 'print the matrices too').default(false))
    .addOption(new Option('--matrices', 'put the matrices into the JSON document').default(false))
    .optionsGroup('The page:')
    .addOption(new Option('--html <path>', 'write it as a page to play with, in one file'))
    .addOption(new Option('-f, --force', 'replace an existing file').default(false))
    .addHelpText('after', EXAMPLES)
    .action((flags: DemoFlags) =>
      run(async (terminal) => {
        const { printDemo } = await import('./document.ts')
        return printDemo(flags, terminal)
      }),
    )
}
