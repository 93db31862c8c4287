import { type Command, Option } from 'commander'
import { common, numberOf, patterns, type Run } from '../flags.ts'
import type { OutputFlags } from '../print.ts'
import { type ShardFlags, shardOf } from '../shard-choice.ts'
import { addShardFlags, argumentsOf, givenFlags, partOption, refuseForJoin } from '../shard-flags.ts'
import { VERIFY, type VerifyOptions } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd verify adapter/ base/ tuned/
  lora-svd verify adapter/ base/ tuned/ --max-error 0.1 --json
  lora-svd verify adapter/ base/ tuned/ --moments c.safetensors
  lora-svd verify adapter/ base/ tuned/ --shard 2/4 -o parts/
  lora-svd verify --join parts/ --max-error 0.1

Exit codes: 0 done, and no layer's error is above --max-error
or --max-output-error
1 one is, or has no moments for the latter, or a part of the models has no
counterpart · 2 bad options or input
A shard ends with 0 once its part is whole: what was found is judged by --join.`

/** `verify`: what an adapter as it lies on disk really reproduces. */
export function addVerify(program: Command, run: Run): void {
  const command = program
    .command('verify')
    .summary('what an adapter on disk really reproduces, layer by layer')
    .description(
      "Measures how far base + adapter is from the fine-tune, for anyone's PEFT adapter, from what lies on disk.",
    )
    .usage('[options] <adapter> <base> <tuned>')
    .argument(
      '<adapter>',
      'an adapter folder or file, in any format that is read; with --join a part, or a folder of parts',
    )
    .argument('[base]', 'the weights before, or a .gguf of them')
    .argument('[tuned]', 'the weights after')
    .argument('[part...]', 'with --join, in place of these: more parts')
    .addOption(
      new Option('--max-error <e>', "the most that a layer's relative error may be").argParser(
        numberOf(VERIFY.maxError),
      ),
    )
    .addOption(common.moments())
    .addOption(
      new Option(
        '--max-output-error <e>',
        "with --moments, or with --join of parts that had them: the most that a layer's error of outputs may be",
      ).argParser(numberOf(VERIFY.maxOutputError)),
    )
    .addOption(common.alpha(VERIFY.alpha))
    .addOption(common.alphaZero())
    .addOption(patterns('--include <glob>', 'only tensors with such a name (* crosses dots; repeatable)'))
    .addOption(patterns('--exclude <glob>', 'no tensors with such a name (repeatable)'))
    .addOption(common.allowUnpaired())
    .addOption(common.memory())
  addShardFlags(command, {
    part: 'measure this part of the tensors alone, and keep what is found in --out',
    join: 'make one report of the parts of all shards',
  })
  command
    .addOption(partOption())
    .addOption(new Option('-f, --force', 'replace a part that is there').default(false))
    .addHelpText('after', EXAMPLES)
    .action(
      (
        first: string,
        second: string | undefined,
        third: string | undefined,
        more: readonly string[],
        flags: VerifyCommandFlags,
      ) =>
        run(async (terminal) => {
          const given = [first, second, third, ...more].filter((one) => one !== undefined)
          const { json, quiet, maxError, maxOutputError, join } = flags
          const { printVerify } = await import('./document.ts')
          if (join) {
            refuseForJoin(command, [...OF_SHARDS, 'shard', 'shards', 'out', 'force'])
            return printVerify({ json, quiet, maxError, maxOutputError, join: given }, terminal)
          }
          const [adapter, base, tuned] = argumentsOf(
            command,
            ['adapter', 'base', 'tuned'],
            given,
            flags,
          ).named
          const shard = shardOf(flags, terminal.env)
          const { shards: _, join: __, ...options } = shard === undefined ? flags : givenFlags(command, flags)
          return printVerify({ ...options, shard, json, quiet, adapter, base, tuned }, terminal)
        }),
    )
}

/** Flags that say what is measured. */
const OF_SHARDS = ['moments', 'alpha', 'alphaZero', 'include', 'exclude', 'allowUnpaired', 'memory']

type VerifyCommandFlags = Omit<VerifyOptions, 'adapter' | 'base' | 'tuned' | 'shard'> &
  OutputFlags &
  ShardFlags & { readonly join: boolean }
