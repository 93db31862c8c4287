import { badInput } from '../errors.ts'
import { quoted } from '../text/quote.ts'
import type { Adapter } from './model.ts'

const CONVERT = "convert it with PEFT's save_pretrained(path_initial_model_for_weight_conversion=…) first"

/**
 * Throws `bad-input` for an adapter that is meant for another base than the one it names, or for a part of the tokens: what it holds
 * is then no change of this base. `cure` is what else can be done where the training changed it.
 */
export function refuseOtherBases({ path, config }: Adapter, cure?: string): void {
  const refuse = (why: string) => {
    throw badInput(`${path}: ${why}`, { file: path })
  }
  if (config?.mutatesBase !== undefined) {
    refuse(
      `${config.mutatesBase}, so that its training began from another base; ${cure === undefined ? '' : `${cure}, or `}${CONVERT}`,
    )
  }
  if (config?.layerReplication) {
    refuse('layer_replication is set: it is for a model with repeated layers, not for this base')
  }
}

/** Throws `bad-input` for an activated LoRA, which acts only from certain tokens on: no weights do the same. */
export function refuseActivated({ path, config }: Adapter): void {
  if (config?.alora !== true) return
  throw badInput(
    `${path}: is an activated LoRA (aLoRA), which acts only from its invocation tokens on: no merged weights can do that; keep it an adapter`,
    { file: path },
  )
}

/** Throws `bad-input` for an adapter whose change isn't scale·B·A alone, or is that of another base. */
export function refuseOtherSums(adapter: Adapter): void {
  const { path, modules } = adapter
  const dora = modules.find(({ magnitude }) => magnitude !== undefined)
  if (dora !== undefined) {
    throw badInput(
      `${path}: the module ${quoted(dora.label)} is DoRA, whose change is more than scale·B·A; merge it into the base and inspect that`,
      { file: path },
    )
  }
  refuseOtherBases(adapter)
}

/** Throws `bad-input` where an adapter has modules that what its training is said to have begun with has not. */
export function assertBeganWith({ path, modules }: Adapter, initial: Adapter): void {
  const began = new Set(initial.modules.map((module) => module.path))
  const other = modules.find((module) => !began.has(module.path))
  if (other === undefined) return
  throw badInput(
    `${initial.path}: has no module ${quoted(other.label)}, which ${path} has: it is not what that began with`,
    { file: initial.path },
  )
}
