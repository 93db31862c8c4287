import { isOfEncoders, knownPath } from '../../../lora/families/known-names.ts'
import { FAMILIES } from '../../../lora/families/layout.ts'
import { type Family, NAMINGS } from '../../../lora/families/types.ts'
import { isOfEncoder } from '../../../lora/loaders/family-gaps.ts'
import type { AdapterView, ModuleView } from '../../../lora/loaders/types.ts'
import { judged } from '../../../lora/loaders/view.ts'
import { splitPrefix } from '../../../lora/names.ts'
import type { DefectName, Found } from '../rules.ts'

/** Text encoders by ComfyUI's names of them alone (comfy/lora.py, model_lora_keys_clip @2025-10-12), and what OneTrainer bundles. */
const BARE_ENCODER = /^(?:clip_[lgh]|t5xxl|hydit_clip|text_model|text_encoders)\./
/** Before names of U-Nets that have no others. */
const STRICT = /^(?:lora_unet_|unet\.|diffusion_model\.)$/
const UNETS = FAMILIES.filter(({ component }) => component === 'unet')

/** A name that is no loader's: what it is wrong by, and in whole sentences why. */
interface Wrong {
  readonly rule: DefectName
  readonly message?: string
}

/**
 * Names of an adapter of a diffusion model that no loader knows: such as begin with nobody's prefix, and, where there is no base to hold
 * them to, such as are none of the family's.
 */
export function nameDefects(view: AdapterView, hasBase: boolean): Found[] {
  const { naming, family, modules, whole } = judged(view)
  if (naming === undefined) return []
  const families = familiesOf(family, modules)
  const groups = new Map<DefectName, Found & { readonly names: string[] }>()
  const put = (name: string, wrong: Wrong | undefined) => {
    if (wrong === undefined) return
    const group = groups.get(wrong.rule) ?? { ...wrong, names: [] }
    group.names.push(name)
    groups.set(wrong.rule, group)
  }
  for (const module of modules) put(module.label, wrongIn(withPrefix(module), family, families, hasBase))
  for (const { name, target } of whole) {
    const path = target.replace(/\.(?:weight|bias)$/, '')
    const hasNone = name.startsWith(path) && withPrefix({ prefix: '', path }).prefix === ''
    if (hasNone) put(name, bareProblem(path, families))
  }
  return [...groups.values()]
}

/** Those that the denoiser may be of, as far as names tell. */
function familiesOf(family: Family | undefined, modules: readonly ModuleView[]): readonly Family[] {
  if (family !== undefined) return [family]
  return modules.some(({ prefix }) => prefix === 'unet.') ? UNETS : FAMILIES
}

type Split = Pick<ModuleView, 'prefix' | 'path'>

/** A name that has the prefix of another naming than the file's most: ComfyUI reads names of all namings in one file. */
function withPrefix({ prefix, path }: Split): Split {
  if (prefix !== '') return { prefix, path }
  return (
    NAMINGS.map((naming) => splitPrefix(path, naming)).find((split) => split.prefix !== '') ?? {
      prefix,
      path,
    }
  )
}

/** Of a name without any prefix. */
const bareProblem = (path: string, families: readonly Family[]): Wrong | undefined =>
  BARE_ENCODER.test(path) || knownPath(path, families).is === 'known'
    ? undefined
    : { rule: 'names-of-nobody' }

function wrongIn(
  { prefix, path }: Split,
  family: Family | undefined,
  families: readonly Family[],
  hasBase: boolean,
): Wrong | undefined {
  if (prefix === '') return bareProblem(path, families)
  if (hasBase) return undefined
  const isOfUnet = families.every(({ component }) => component === 'unet')
  const of = family?.name ?? (isOfUnet ? 'a U-Net' : undefined)
  if (isOfEncoder({ prefix })) {
    return isOfEncoders(path) ? undefined : { rule: isOfUnet ? 'names-not-of-family' : 'names-not-known' }
  }
  const known = knownPath(path, families)
  if (known.is === 'known') return undefined
  const near = known.is === 'slip' ? `; one that is much the same is ${known.near}` : ''
  if (of === undefined) {
    return near === ''
      ? { rule: 'family-not-known' }
      : { rule: 'names-not-known', message: `A name is none that is known here${near}.` }
  }
  const isCertain = known.is === 'slip' || (isOfUnet && STRICT.test(prefix))
  return {
    rule: isCertain ? 'names-not-of-family' : 'names-not-known',
    message: `A name is none of ${of}’s${near}.`,
  }
}
