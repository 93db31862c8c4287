import { ADAPTER_CONFIG_FILE } from '../checkpoint/folder.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import type { OutputPlan } from '../combine/output.ts'
import { type ExpertForm, hasStacks, versionOf, withExperts } from '../lora/expert-forms.ts'
import type { AdapterFormat, JsonObject, TargetModule } from '../lora/model.ts'
import { takesSecondAsInput } from '../lora/stack-order.ts'
import { type ModelTraits, modelTraits, ownerOfPath, pathOf } from '../lora/traits.ts'
import { targetModules } from '../lora/write/targets.ts'
import { compareUtf8 } from '../text/compare.ts'
import { quoted } from '../text/quote.ts'
import type { FormatPlan } from './target.ts'

/** The base with its experts as the format has them, or as they are asked for. */
export function inForm(
  base: Checkpoint | undefined,
  format: AdapterFormat,
  experts: ExpertForm | undefined,
): Checkpoint | undefined {
  if (base === undefined) return undefined
  if (experts !== undefined) return withExperts(base, experts)
  // mlx-lm stacks each projection by itself, of models whose gate and up aren't in turn
  const isApart = format === 'mlx' && hasStacks(base) && !modelTraits(base.config, base.tensors).expertsInOut
  return isApart ? withExperts(base, 'separate') : base
}

/** Last names of experts' projections, by which PEFT knows them wherever they are. */
const OF_EXPERTS = /\.(?:gate_proj|up_proj|down_proj|w[123])$/

/** What PEFT makes of modules beside stacks that are called like one of the experts'. */
export function mistaken({ format, pairs }: FormatPlan): string[] {
  const hasStacks = format === 'peft' && pairs.some(({ stack }) => stack !== undefined)
  const other = pairs.find(({ stack, module }) => stack === undefined && OF_EXPERTS.test(module))
  if (!hasStacks || other === undefined) return []
  return [
    `PEFT up to 0.20 takes ${quoted(other.module)} for a part of the experts by its last name, and leaves it out or refuses the file (huggingface/peft#3711)`,
  ]
}

/** A stack of experts as PEFT takes it in the form that was asked for. */
export const inOrder = <T extends TargetModule>(
  module: T,
  form: ExpertForm | undefined,
  traits: ModelTraits,
): T =>
  module.kind !== 'experts' || form === undefined
    ? module
    : { ...module, isTransposed: takesSecondAsInput(versionOf(form), traits) }

/** The texts, with a config that targets what there is of the experts now, and no module that became a part of one. */
export function retold(
  { texts, modules }: OutputPlan,
  form: ExpertForm,
  base: Checkpoint,
  traits: ModelTraits,
): ReadonlyMap<string, string> {
  const paths = modules.flatMap(({ summed: { module } }) => (module.kind === 'experts' ? [] : [module.path]))
  const owners = [...base.tensors.keys()].map((name) => ownerOfPath(pathOf(name, traits)))
  const text = texts.get(ADAPTER_CONFIG_FILE)!
  const restricting = ['layers_to_transform', 'layers_pattern', 'exclude_modules'].filter((key) =>
    Object.hasOwn(JSON.parse(text), key),
  )
  const config = withFields(text, {
    target_modules: targetModules(paths, owners),
    ...Object.fromEntries(restricting.map((key) => [key, null])),
    ...versionField(form),
  })
  return new Map([...texts, [ADAPTER_CONFIG_FILE, config]])
}

/** The version of PEFT whose layout stacks of a form have, as a config tells it. */
export const versionField = (form: ExpertForm | undefined): JsonObject => {
  const version = form === undefined ? undefined : versionOf(form)
  return version === undefined ? {} : { peft_version: version }
}

/** A config with some of its fields set, sorted as PEFT has them. */
export function withFields(config: string, fields: JsonObject): string {
  const all = Object.entries<unknown>({ ...JSON.parse(config), ...fields })
  const sorted = Object.fromEntries(all.sort(([a], [b]) => compareUtf8(a, b)))
  return `${JSON.stringify(sorted, null, 2)}\n`
}
