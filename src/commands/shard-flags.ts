import { type Command, Option } from 'commander'
import { badUsage } from '../errors.ts'
import { parseShard } from '../shards/shard.ts'
import { integerOf, parsedBy } from './flags.ts'
import { integer } from './options.ts'

/** How many shards there are. */
const SHARDS = integer(1)

/** The flags of work in shards; the texts say what of the work is a part, and what `--join` makes of the parts. */
export function addShardFlags(command: Command, { part, join }: { part: string; join: string }): void {
  command
    .optionsGroup('On many machines:')
    .addOption(
      new Option('--shard <i/n>', `${part}; auto: as Slurm or Kubernetes says`).argParser((text: string) =>
        text === 'auto' ? text : parsedBy(parseShard)(text),
      ),
    )
    .addOption(
      new Option('--shards <n>', 'how many there are, for --shard auto').argParser(integerOf(SHARDS)),
    )
    .addOption(new Option('--join', join).default(false))
}

/** Where a shard whose result is a document leaves it. */
export const partOption = () =>
  new Option('-o, --out <path>', 'where a shard leaves its part: a folder for all parts, or a .json file')

/** What was given on the command line, without what stands there by default. */
export function givenFlags<F extends object>(command: Command, flags: F): Partial<F> {
  const isGiven = (name: string) => command.getOptionValueSource(name) !== 'default'
  return Object.fromEntries(Object.entries(flags).filter(([name]) => isGiven(name))) as Partial<F>
}

/** Throws `bad-usage` where flags are given that have their meaning for the shards, and nothing of it is left for `--join`. */
export function refuseForJoin(command: Command, names: readonly string[]): void {
  for (const name of names) {
    if (command.getOptionValueSource(name) !== 'cli') continue
    const { long } = command.options.find((option) => option.attributeName() === name)!
    throw badUsage(`${long} is for the shards: --join takes what they have found; leave it out`)
  }
}

/**
 * The arguments of a command by their names. Those after them are parts, which only `--join` takes: whatever stands before or after that
 * flag, the first arguments are the first. Ends as commander does where one is missing or there are too many.
 */
export function argumentsOf(
  command: Command,
  names: readonly string[],
  given: readonly string[],
  { join }: { readonly join: boolean },
): { readonly named: readonly string[]; readonly parts: readonly string[] } {
  if (given.length < names.length) {
    command.error(`error: missing required argument '${names[given.length]}'`)
  }
  const parts = given.slice(names.length)
  if (parts.length > 0 && !join) {
    const expected = `${names.length} argument${names.length === 1 ? '' : 's'}`
    command.error(
      `error: too many arguments for '${command.name()}': expected ${expected} but got ${given.length}`,
    )
  }
  return { named: given.slice(0, names.length), parts }
}
