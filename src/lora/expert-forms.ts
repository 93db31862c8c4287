import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { EXPERT, ROLES, type Role } from './experts.ts'
import { type ModelTraits, modelTraits } from './traits.ts'

/**
 * How a PEFT adapter has its experts. `separate`: a pair of factors for each projection of each, as they are named in most checkpoints.
 * `stacked`: one for all of them, by `target_parameters`, as PEFT 0.19.1 and later have it. `stacked-0.18`: as PEFT before that has it.
 */
export const EXPERT_FORMS = ['separate', 'stacked', 'stacked-0.18'] as const
export type ExpertForm = (typeof EXPERT_FORMS)[number]

/** The version of PEFT whose layout a stack has: what a config's `peft_version` is to say. */
export const versionOf = (form: ExpertForm): string | undefined =>
  form === 'separate' ? undefined : form === 'stacked' ? '0.19.1' : '0.18.1'

/** Whether a base has experts in stacks. */
export const hasStacks = (base: Checkpoint): boolean => stacksOf(base).size > 0

/**
 * The models whose experts' projections are w1, w3 and w2 where they are apart, and those of them whose block is block_sparse_moe there
 * and mlp where they are stacked (huggingface/transformers: src/transformers/conversion_mapping.py @000c33f, 2025-12).
 */
const WITH_NUMBERS = ['mixtral', 'minimax', 'phimoe', 'lfm2_moe']
const IN_SPARSE_BLOCKS = ['mixtral', 'minimax']
const LETTERS: Readonly<Record<Role, string>> = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' }
const NUMBERS: Readonly<Record<Role, string>> = { gate: 'w1', up: 'w3', down: 'w2' }

const STACK = /^(.*\.experts)\.(gate_up_proj|down_proj)$/

/**
 * The base as a model that has its experts in a form: its tensors' names and shapes. Those that it stores otherwise have no numbers of their
 * own there, and are not to be read. Throws `bad-input` where it has no experts that are known by their names.
 */
export function withExperts(base: Checkpoint, form: ExpertForm): Checkpoint {
  const traits = modelTraits(base.config, base.tensors)
  const [stacks, singles] = [stacksOf(base), singlesOf(base)]
  if (stacks.size === 0 && singles.size === 0) {
    throw badInput(
      `${base.path}: has no experts that are known by their names, so that --experts says nothing`,
      {
        file: base.path,
      },
    )
  }
  const [gone, come] =
    form === 'separate'
      ? [[...stacks.values()].flatMap((own) => [...own.values()]), apart(stacks, traits)]
      : [[...singles.values()].flat().flatMap((own) => [...own.values()]), stacked(singles, traits)]
  const names = new Set(gone.map(({ name }) => name))
  const kept = [...base.tensors.values()].filter(({ name }) => !names.has(name))
  return { ...base, tensors: new Map([...kept, ...come].map((tensor) => [tensor.name, tensor])) }
}

/** The stacks of a base by the module whose parameters they are, and the parameter's name. */
function stacksOf({ tensors }: Checkpoint): Map<string, Map<string, StoredTensor>> {
  const found = new Map<string, Map<string, StoredTensor>>()
  for (const tensor of tensors.values()) {
    const [, owner, parameter] = STACK.exec(tensor.name) ?? []
    if (owner === undefined || tensor.shape.length !== 3) continue
    found.set(owner, (found.get(owner) ?? new Map()).set(parameter, tensor))
  }
  return found
}

type Experts = readonly ReadonlyMap<Role, StoredTensor>[]

/** The projections of single experts, of modules that have all three of each, of one shape. */
function singlesOf({ tensors }: Checkpoint): Map<string, Experts> {
  const found = new Map<string, Map<Role, StoredTensor>[]>()
  for (const tensor of tensors.values()) {
    const [, owner, expert, leaf] = EXPERT.exec(tensor.name.replace(/\.weight$/, '')) ?? []
    if (owner === undefined || tensor.shape.length !== 2) continue
    const experts = found.get(owner) ?? []
    experts[Number(expert)] = (experts[Number(expert)] ?? new Map()).set(ROLES[leaf], tensor)
    found.set(owner, experts)
  }
  return new Map([...found].filter(([, experts]) => isWhole(experts)))
}

function isWhole(experts: Experts): boolean {
  const [first] = experts
  const roles = ['gate', 'up', 'down'] as const
  const shapeOf = (own: Experts[number] | undefined, role: Role) => own?.get(role)?.shape.join()
  return (
    shapeOf(first, 'gate') === shapeOf(first, 'up') &&
    Array.from(experts).every((own) =>
      roles.every((role) => shapeOf(own, role) !== undefined && shapeOf(own, role) === shapeOf(first, role)),
    )
  )
}

/** Every expert's projections of stacks [experts, out, in] or [experts, in, out]. */
function apart(
  stacks: ReadonlyMap<string, ReadonlyMap<string, StoredTensor>>,
  traits: ModelTraits,
): StoredTensor[] {
  const isOf = (types: readonly string[]) => traits.types.some((type) => types.includes(type))
  const leaves = isOf(WITH_NUMBERS) ? NUMBERS : LETTERS
  return [...stacks].flatMap(([owner, own]) => {
    const path = isOf(IN_SPARSE_BLOCKS) ? owner.replace(/\bmlp(?=\.experts$)/, 'block_sparse_moe') : owner
    const isTransposed = liesInOut(own, traits)
    return [...own].flatMap(([parameter, stack]) => {
      const [experts, first, second] = stack.shape
      const [out, inputs] = isTransposed ? [second, first] : [first, second]
      const roles: readonly Role[] = parameter === 'down_proj' ? ['down'] : ['gate', 'up']
      const bytes = stack.bytes / experts / roles.length
      return Array.from({ length: experts }, (_, e) =>
        roles.map((role) => ({
          ...stack,
          ...{ name: `${path}.${e}.${leaves[role]}.weight`, shape: [out / roles.length, inputs], bytes },
        })),
      ).flat()
    })
  })
}

/** Whether stacks are [experts, in, out], by the shapes of both, else by the model's type. */
function liesInOut(own: ReadonlyMap<string, StoredTensor>, { expertsInOut }: ModelTraits): boolean {
  const [fused, down] = [own.get('gate_up_proj')?.shape, own.get('down_proj')?.shape]
  if (fused === undefined || down === undefined) return expertsInOut
  return fused[1] === down[2] && fused[2] === 2 * down[1]
}

/** The stacks of single experts' projections: gate's and up's rows in one. */
function stacked(singles: ReadonlyMap<string, Experts>, { expertsInOut }: ModelTraits): StoredTensor[] {
  return [...singles].flatMap(([owner, experts]) => {
    const path = owner.replace(/\bblock_sparse_moe(?=\.experts$)/, 'mlp')
    const stackOf = (parameter: string, roles: readonly Role[]): StoredTensor => {
      const parts = experts.flatMap((own) => roles.map((role) => own.get(role)!))
      const [first] = parts
      const [out, inputs] = [first.shape[0] * roles.length, first.shape[1]]
      return {
        ...first,
        name: `${path}.${parameter}`,
        shape: [experts.length, ...(expertsInOut ? [inputs, out] : [out, inputs])],
        bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
      }
    }
    return [stackOf('gate_up_proj', ['gate', 'up']), stackOf('down_proj', ['down'])]
  })
}
