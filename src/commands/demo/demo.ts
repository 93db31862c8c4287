import { decompositionFlops } from '../../engine/choice.ts'
import { openEngine } from '../../engine/open.ts'
import { assertWritable, writeTextAtomic } from '../../io/write-atomic.ts'
import { doOne, inContext } from '../../jobs/context.ts'
import { shape } from '../../text/numbers.ts'
import { type DemoResult, notebook } from './notebook.ts'
import { type DemoOptions, demoSettings } from './options.ts'
import { notebookPage } from './page.ts'

/**
 * Runs the LoRA notebook's experiment: a matrix W of low rank, its singular values, the two factors that stand in for it, and whether
 * they do the same to an input. Writes it as a page where `html` names one, whole or not at all. Throws LoraSvdError `bad-usage` where the
 * options don't go together, `output-exists` where the page is there already.
 */
export async function demo(options: DemoOptions = {}): Promise<DemoResult> {
  const settings = demoSettings(options)
  return inContext(options, async (context) => {
    const flops = decompositionFlops(settings.d, settings.k)
    const engine = await openEngine(context.request, flops, context.notice)
    const { html, force = false } = options
    if (html !== undefined) await assertWritable(html, { force })
    const { result } = await doOne('decomposing', shape(settings.d, settings.k), flops, context, () =>
      notebook(settings, engine),
    )
    if (html !== undefined) await writeTextAtomic(html, notebookPage(settings), { force })
    return result
  })
}
