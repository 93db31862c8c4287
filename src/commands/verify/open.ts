import { openCheckpoint } from '../../checkpoint/open.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { asRead } from '../../io/remote/hub.ts'
import type { RunContext } from '../../jobs/context.ts'
import type { Adapter } from '../../lora/model.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { inNamesOf, refuseGguf } from '../../lora/read/gguf-base.ts'
import type { VerifySettings } from './options.ts'

/** The three that are compared. Only headers have been read. */
export interface OpenedForVerify {
  readonly adapter: Adapter
  /** The checkpoint that the adapter is read from. */
  readonly files: Checkpoint
  readonly base: Checkpoint
  readonly tuned: Checkpoint
}

/** Opens what the settings name. Throws `bad-input` where one of them isn't what it should be. */
export async function openVerified(
  settings: VerifySettings,
  { opening }: RunContext,
): Promise<OpenedForVerify> {
  const { alpha, alphaZero } = settings
  const files = await openCheckpoint(settings.adapter, opening)
  const stored = await openCheckpoint(settings.base, opening)
  const tuned = await openCheckpoint(settings.tuned, opening)
  refuseGguf(tuned)
  const base = await inNamesOf(stored, tuned)
  const model = base.config ?? tuned.config
  const adapter = await adapterOf(files, { alpha, alphaZero, model, isStrict: true })
  if (adapter === undefined) {
    throw badInput(`${settings.adapter}: is no adapter: none of its tensors is a LoRA factor`, {
      file: settings.adapter,
    })
  }
  return { adapter, files, base, tuned }
}

/** The paths, by the commits that were read. */
export const sourceOf = ({ adapter, base, tuned }: VerifySettings) => ({
  adapter: asRead(adapter),
  base: asRead(base),
  tuned: asRead(tuned),
})

/** What there is to know of the three, and of measuring them. */
export const warningsOf = (
  { base, tuned }: OpenedForVerify,
  { warnings }: { readonly warnings: readonly string[] },
): string[] => [...new Set([...base.warnings, ...tuned.warnings, ...warnings])]
