import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { type ErrorRow, factor, testErrors } from './errors.ts'
import { temporaryFolder } from './run.ts'

const folder = temporaryFolder()
mkdirSync(join(folder, 'out'))
writeFileSync(join(folder, 'W.csv'), '1,2\n3,4\n')

afterAll(() => {
  expect(readdirSync(folder).sort()).toEqual(['W.csv', 'out'])
  expect(readdirSync(join(folder, 'out'))).toEqual([])
})

const rows = (name: string, table: readonly ErrorRow[]) => testErrors(name, folder, table)

const DEMO_HELP = 'see lora-svd demo --help'
const FACTOR_HELP = 'see lora-svd factor --help'

rows('demo: an option that is wrong by itself', [
  ...['x', '2.5', '0', '-3', '', '9007199254740993'].map((value) => ({
    args: ['demo', '--d', value],
    says: `option '--d <rows>' argument '${value}' is invalid: expected an integer of at least 1; ${DEMO_HELP}`,
  })),
  ...['10001'].map((value) => ({
    args: ['demo', '--draw', value],
    says: `option '--draw <n>' argument '${value}' is invalid: expected an integer from 1 to 10000; ${DEMO_HELP}`,
  })),
  ...['-1', 'nan', '1e21'].map((value) => ({
    args: ['demo', '--noise', value],
    says: `option '--noise <sigma>' argument '${value}' is invalid: expected a number from 0 to 1e20; ${DEMO_HELP}`,
  })),
  ...['-1e-9', ' '].map((value) => ({
    args: ['demo', '--rtol', value],
    says: `option '--rtol <x>' argument '${value}' is invalid: expected a number of at least 0; ${DEMO_HELP}`,
  })),
  {
    args: ['demo', '--seed', '1.5'],
    says: `option '--seed <n>' argument '1.5' is invalid: the seed must be a decimal integer such as 0 or -1, got "1.5"; ${DEMO_HELP}`,
  },
  {
    args: ['demo', '--rng', 'numpy'],
    says: `option '--rng <name>' argument 'numpy' is invalid: allowed choices are seedrandom, torch; ${DEMO_HELP}`,
  },
  {
    args: ['demo', '--dtype', 'f16'],
    says: `option '--dtype <float>' argument 'f16' is invalid: allowed choices are f64, f32; ${DEMO_HELP}`,
  },
  { args: ['demo', '--ranks', '2'], says: "unknown option '--ranks' (Did you mean --rank?)" },
  { args: ['demo', '--bogus'], says: `unknown option '--bogus'; ${DEMO_HELP}` },
  {
    args: ['demo', 'W.npy'],
    says: `too many arguments for 'demo': expected 0 arguments but got 1; ${DEMO_HELP}`,
  },
])

rows('demo: options that do not go together', [
  {
    args: ['demo', '--rank', '11'],
    says: '--rank 11: a 10 × 10 matrix has rank 10 at most; use --rank 10 or larger --d, --k',
  },
  {
    args: ['demo', '--d', '3', '--k', '20', '--rank', '4'],
    says: '--rank 4: a 3 × 20 matrix has rank 3 at most; use --rank 3 or larger --d, --k',
  },
  {
    args: ['demo', '--truncate', '11'],
    says: '--truncate 11: a 10 × 10 matrix has 10 directions; use --truncate 10 or less',
  },
  {
    args: ['demo', '--d', '100000', '--k', '100000'],
    says: '--d 100000 --k 100000: W would have 10000000000 elements, the demo takes 134217728 at most; use smaller --d, --k',
  },
  ...['18446744073709551616', '-9223372036854775809'].map((seed) => ({
    args: ['demo', '--rng', 'torch', '--seed', seed],
    says: `a PyTorch seed must be in [-2^63, 2^64), that is -9223372036854775808 to 18446744073709551615, got ${seed}`,
  })),
])

rows('factor: the command line', [
  { args: ['factor', 'W.csv'], says: `required option '-o, --out <path>' not specified; ${FACTOR_HELP}` },
  { args: ['factor', '-o', 'out/x.npz'], says: `missing required argument 'matrix'; ${FACTOR_HELP}` },
  { args: factor(''), says: '<matrix> is empty: name a file, or - for standard input' },
  {
    args: factor('W.csv', 'X.csv'),
    says: `too many arguments for 'factor': expected 1 argument but got 2; ${FACTOR_HELP}`,
  },
  {
    args: ['factor', 'W.csv', '-o', 'out/x.npz'],
    says: 'no rank rule: give one of --rank 8, --energy 0.99, --error 0.05',
  },
  {
    args: factor('W.csv', '--rank', '2', '--error', '0.1'),
    says: '--rank, --error each choose the rank: give only one of them',
  },
  {
    args: factor('W.csv', '--rank', '2', '--error', '0.1', '--energy', '0.9'),
    says: '--rank, --energy, --error each choose the rank: give only one of them',
  },
  {
    args: factor('W.csv', '--rank', '3'),
    says: '--rank 3: W.csv is 2 × 2, so its rank is 2 at most; use --rank 2 or less',
  },
  {
    args: factor('W.csv', '--min-rank', '3'),
    says: '--min-rank 3: W.csv is 2 × 2, so its rank is 2 at most; use --min-rank 2 or less',
  },
  {
    args: factor('W.csv', '--min-rank', '2', '--max-rank', '1'),
    says: '--min-rank 2 is above --max-rank 1; make it 1 or less',
  },
  {
    args: factor('W.csv', '--multiple-of', '0'),
    says: `option '--multiple-of <m>' argument '0' is invalid: expected an integer of at least 1; ${FACTOR_HELP}`,
  },
  ...['0', '1', '99%'].map((value) => ({
    args: factor('W.csv', '--energy', value),
    says: `option '--energy <share>' argument '${value}' is invalid: expected a share above 0 and below 1, such as 0.99; ${FACTOR_HELP}`,
  })),
  ...['0', '1'].map((value) => ({
    args: factor('W.csv', '--error', value),
    says: `option '--error <e>' argument '${value}' is invalid: expected a number above 0 and below 1, such as 0.05; ${FACTOR_HELP}`,
  })),
  {
    args: factor('W.csv', '--dtype', 'float32'),
    says: `option '--dtype <float>' argument 'float32' is invalid: allowed choices are f32, f16, bf16, f64; ${FACTOR_HELP}`,
  },
  {
    args: ['factor', 'W.csv', '-o', 'out/x.npz', '--rank', '1', '--dtype', 'bf16'],
    says: '--dtype bf16: NumPy has no bf16; use --dtype f16 or f32, or an output that ends in .safetensors',
  },
  ...['out/x.npy', '.npz'].map((out) => ({
    args: ['factor', 'W.csv', '-o', out, '--rank', '1'],
    says: `--out ${out}: the name must end in .safetensors or .npz, which says the format`,
  })),
  {
    args: ['factor', 'W.csv', '-o', 'a\nb\u001b[31m.bin', '--rank', '1'],
    says: '--out a\\u{000a}b\\u{001b}[31m.bin: the name must end in .safetensors or .npz, which says the format',
  },
])
