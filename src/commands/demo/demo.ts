import { decompositionFlops } from '../../engine/choice.ts'
import { openEngine } from '../../engine/open.ts'
import { doOne, inContext } from '../../jobs/context.ts'
import { shape } from '../../text/numbers.ts'
import { type DemoResult, notebook } from './notebook.ts'
import { type DemoOptions, demoSettings } from './options.ts'

/**
 * Runs the LoRA notebook's experiment: a matrix W of low rank, its singular values, the two factors that stand in for it, and whether
 * they do the same to an input. Throws LoraSvdError `bad-usage` where the options don't go together.
 */
export async function demo(options: DemoOptions = {}): Promise<DemoResult> {
  const settings = demoSettings(options)
  return inContext(options, async (context) => {
    const flops = decompositionFlops(settings.d, settings.k)
    const engine = await openEngine(context.request, flops, context.notice)
    return doOne(
      'decomposing',
      shape(settings.d, settings.k),
      flops,
      context,
      () => notebook(settings, engine).result,
    )
  })
}
