import { type Command, Option } from 'commander'
import { badUsage } from '../../errors.ts'
import { parseSeed } from '../../random/seedrandom.ts'
import { integer, nonNegative, number, parsedBy, type Run } from '../flags.ts'
import type { DemoOptions, DemoOutput } from './demo.ts'

/** W and a few matrices of its size are in memory at once: at 2^27 float64 entries each is 1 GiB. */
const MAX_ELEMENTS = 2 ** 27
/** Far beyond any weight, and W·x stays finite in float32 too. */
const MAX_NOISE = 1e20
/** Each draw repeats the whole product; more than this is surely a slip. */
const MAX_DRAW = 10_000

type Flags = Omit<DemoOptions, 'truncate'> & DemoOutput & { truncate?: number }

const EXAMPLES = `
Examples:
  lora-svd demo --d 10 --k 10 --rank 2
  lora-svd demo --d 64 --k 48 --rank 4 --truncate 3  # one direction too few
  lora-svd demo --rng torch --draw 2 --show          # the notebook's very W
  lora-svd demo --json | jq .elements.ratio

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
    .addOption(new Option('--d <rows>', 'rows of W: output features').default(10).argParser(integer(1)))
    .addOption(new Option('--k <columns>', 'columns of W: input features').default(10).argParser(integer(1)))
    .addOption(new Option('--rank <r>', 'rank of W').default(2).argParser(integer(1)))
    .addOption(
      new Option('--noise <sigma>', 'add sigma · randn(d, k) to W')
        .default(0)
        .argParser(number('a number from 0 to 1e20', (x) => x >= 0 && x <= MAX_NOISE)),
    )
    .optionsGroup('The random numbers:')
    .addOption(new Option('--seed <n>', 'seed').default(0n, '0').argParser(parsedBy(parseSeed)))
    .addOption(
      new Option('--rng <name>', "whose numbers: seedrandom's, or PyTorch's CPU randn")
        .choices(['seedrandom', 'torch'])
        .default('seedrandom'),
    )
    .addOption(
      new Option('--draw <n>', 'draw W n times and keep the last').default(1).argParser(integer(1, MAX_DRAW)),
    )
    .optionsGroup('The arithmetic:')
    .addOption(new Option('--truncate <r>', 'directions to keep (default: rank)').argParser(integer(1)))
    .addOption(
      new Option('--dtype <float>', 'float type of the arithmetic').choices(['f64', 'f32']).default('f64'),
    )
    .addOption(
      new Option('--rtol <x>', 'relative tolerance of allclose').default(1e-5, '1e-5').argParser(nonNegative),
    )
    .addOption(
      new Option('--atol <x>', 'absolute tolerance of allclose').default(1e-8).argParser(nonNegative),
    )
    .optionsGroup('The report:')
    .addOption(new Option('--show', 'print the matrices too').default(false))
    .addOption(new Option('--matrices', 'put the matrices into the JSON document').default(false))
    .addHelpText('after', EXAMPLES)
    .action((flags: Flags) =>
      run(async (terminal) => {
        const { json, quiet, show, matrices, truncate = flags.rank, ...rest } = flags
        const options = checked({ ...rest, truncate })
        const { demo } = await import('./demo.ts')
        return demo(options, { json, quiet, show, matrices }, terminal)
      }),
    )
}

/** What no single option can know. */
function checked(options: DemoOptions): DemoOptions {
  const { d, k, rank, truncate } = options
  const most = Math.min(d, k)
  if (rank > most) {
    throw badUsage(
      `--rank ${rank}: a ${d} × ${k} matrix has rank ${most} at most; use --rank ${most} or larger --d, --k`,
    )
  }
  if (truncate > most) {
    throw badUsage(
      `--truncate ${truncate}: a ${d} × ${k} matrix has ${most} directions; use --truncate ${most} or less`,
    )
  }
  if (d * k > MAX_ELEMENTS) {
    throw badUsage(
      `--d ${d} --k ${k}: W would have ${d * k} elements, the demo takes ${MAX_ELEMENTS} at most; use smaller --d, --k`,
    )
  }
  return options
}
