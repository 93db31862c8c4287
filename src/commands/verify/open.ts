import { openCheckpoint } from '../../checkpoint/open.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { asRead } from '../../io/remote/hub.ts'
import type { RunContext } from '../../jobs/context.ts'
import type { Adapter } from '../../lora/model.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { inNamesOf, refuseGguf } from '../../lora/read/gguf-base.ts'
import { openMoments } from '../../moments/open.ts'
import type { MomentFile } from '../../moments/types.ts'
import type { VerifySettings } from './options.ts'

/** The three that are compared. Only headers have been read. */
export interface OpenedForVerify {
  readonly adapter: Adapter
  /** The checkpoint that the adapter is read from. */
  readonly files: Checkpoint
  readonly base: Checkpoint
  readonly tuned: Checkpoint
  /** Of the layers' inputs, where they were given. */
  readonly moments?: MomentFile
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
  const moments = settings.moments === undefined ? undefined : await openMoments(settings.moments, opening)
  return { adapter, files, base, tuned, ...(moments !== undefined && { moments }) }
}

/** The paths, by the commits that were read. */
export const sourceOf = ({ adapter, base, tuned }: VerifySettings) => ({
  adapter: asRead(adapter),
  base: asRead(base),
  tuned: asRead(tuned),
})

/** All that is read. */
export const inputsOf = ({ files, base, tuned, moments }: OpenedForVerify) =>
  moments === undefined ? [files, base, tuned] : [files, base, tuned, moments]

/** What there is to know of what is read, and of measuring it. */
export const warningsOf = (
  { base, tuned, moments }: OpenedForVerify,
  { warnings }: { readonly warnings: readonly string[] },
): string[] => [...new Set([...base.warnings, ...tuned.warnings, ...(moments?.warnings ?? []), ...warnings])]
