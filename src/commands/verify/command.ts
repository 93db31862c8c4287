import { type Command, Option } from 'commander'
import { common, numberOf, patterns, type Run } from '../flags.ts'
import type { VerifyFlags } from './document.ts'
import { VERIFY } from './options.ts'

const EXAMPLES = `
Examples:
  lora-svd verify adapter/ base/ tuned/
  lora-svd verify adapter/ base/ tuned/ --max-error 0.1 --json
  lora-svd verify adapter/ base/ tuned/ --moments c.safetensors

Exit codes: 0 done, and no layer's error is above --max-error
or --max-output-error
1 one is, or has no moments for the latter, or a part of the models has no
counterpart · 2 bad options or input`

/** `verify`: what an adapter as it lies on disk really reproduces. */
export function addVerify(program: Command, run: Run): void {
  program
    .command('verify')
    .summary('what an adapter on disk really reproduces, layer by layer')
    .description(
      "Measures how far base + adapter is from the fine-tune, for anyone's PEFT adapter, from what lies on disk.",
    )
    .argument('<adapter>', 'an adapter folder or file, in any format that is read')
    .argument('<base>', 'the weights before, or a .gguf of them')
    .argument('<tuned>', 'the weights after')
    .addOption(
      new Option('--max-error <e>', "the most that a layer's relative error may be").argParser(
        numberOf(VERIFY.maxError),
      ),
    )
    .addOption(common.moments())
    .addOption(
      new Option(
        '--max-output-error <e>',
        "with --moments: the most that a layer's error of outputs may be",
      ).argParser(numberOf(VERIFY.maxOutputError)),
    )
    .addOption(common.alpha(VERIFY.alpha))
    .addOption(common.alphaZero())
    .addOption(patterns('--include <glob>', 'only tensors with such a name (* crosses dots; repeatable)'))
    .addOption(patterns('--exclude <glob>', 'no tensors with such a name (repeatable)'))
    .addOption(common.allowUnpaired())
    .addOption(common.memory())
    .addHelpText('after', EXAMPLES)
    .action(
      (
        adapter: string,
        base: string,
        tuned: string,
        flags: Omit<VerifyFlags, 'adapter' | 'base' | 'tuned'>,
      ) =>
        run(async (terminal) => {
          const { printVerify } = await import('./document.ts')
          return printVerify({ ...flags, adapter, base, tuned }, terminal)
        }),
    )
}
