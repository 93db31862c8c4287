import { counted, quoted } from '../formats/quote.ts'
import { addTo } from './group.ts'
import { plainName } from './plain-name.ts'
import { type Candidate, type Rule, renaming } from './renaming.ts'
import { isSameForm } from './same-form.ts'
import type { Checkpoint, StoredTensor } from './types.ts'

type Named = Pick<Checkpoint, 'path' | 'tensors'>

/** Which tensor of a base each tensor of a fine-tune is. */
export interface Correspondence {
  /** The base's name for a tensor of the tuned checkpoint, where the base has it, of whatever shape. */
  readonly inBase: ReadonlyMap<string, string>
  /** What a tensor that only the tuned checkpoint has would be called in the base: without wrappers, by the same rules. */
  readonly nameInBase: (name: string) => string
  readonly warnings: readonly string[]
}

/**
 * Finds for every tensor of `tuned` the one of `base` that it comes from: of one shape first, by its name, by its name without
 * wrappers, by prefixes that are put for others; then, of other shapes, by the same names. No tensor is taken twice.
 */
export function correspondence(base: Named, tuned: Named): Correspondence {
  const inBase = new Map<string, string>()
  const taken = new Set<string>()
  const take = (b: StoredTensor, t: StoredTensor) => {
    inBase.set(t.name, b.name)
    taken.add(b.name)
  }
  const free = (b: StoredTensor | undefined) => b !== undefined && !taken.has(b.name)
  const isOpen = (t: StoredTensor) => !inBase.has(t.name)

  for (const t of tuned.tensors.values()) {
    const b = base.tensors.get(t.name)
    if (b !== undefined && isSameForm(b.shape, t.shape)) take(b, t)
  }
  const plainBase = plainOnes([...base.tensors.values()].filter(free))
  const plainTuned = plainOnes([...tuned.tensors.values()].filter(isOpen))
  let unwrapped = 0
  for (const [plain, t] of plainTuned) {
    const b = plainBase.get(plain)
    if (b === undefined || !isSameForm(b.shape, t.shape)) continue
    take(b, t)
    unwrapped++
  }
  const { pairs, rules } = renaming(candidates(plainBase, free), candidates(plainTuned, isOpen))
  for (const [b, t] of pairs) take(b.tensor, t.tensor)

  for (const t of tuned.tensors.values()) {
    if (!isOpen(t)) continue
    const plain = plainName(t.name)
    const b = [
      base.tensors.get(t.name),
      plainBase.get(plain),
      ...rules.map((rule) => plainBase.get(renamed(plain, rule) ?? '')),
    ].find(free)
    if (b !== undefined) take(b, t)
  }
  // a rule that puts a prefix before all names says nothing of a tensor that the base hasn't
  const longestFirst = rules
    .filter((rule) => rule.tuned !== '')
    .sort((a, b) => b.tuned.length - a.tuned.length)
  const nameInBase = (name: string) => {
    const plain = plainName(name)
    for (const rule of longestFirst) {
      const other = renamed(plain, rule)
      if (other !== undefined) return other
    }
    return plain
  }
  const warnings = [
    ...wrapperWarning(base, tuned, unwrapped),
    ...alike(rules).map((rule) => warningOf(base, tuned, rule)),
  ]
  return { inBase, nameInBase, warnings }
}

function renamed(plain: string, rule: Rule): string | undefined {
  return plain.startsWith(rule.tuned) ? `${rule.base}${plain.slice(rule.tuned.length)}` : undefined
}

/** Tensors by their names without wrappers; under their own where two would be called alike. */
function plainOnes(tensors: readonly StoredTensor[]): Map<string, StoredTensor> {
  const groups = new Map<string, StoredTensor[]>()
  for (const tensor of tensors) addTo(groups, plainName(tensor.name), tensor)
  const named = new Map<string, StoredTensor>()
  for (const [plain, group] of groups) {
    if (group.length === 1) named.set(plain, group[0])
    else for (const tensor of group) named.set(tensor.name, tensor)
  }
  return named
}

const candidates = (
  named: ReadonlyMap<string, StoredTensor>,
  isLeft: (tensor: StoredTensor) => boolean,
): Candidate[] => [...named].flatMap(([plain, tensor]) => (isLeft(tensor) ? [{ plain, tensor }] : []))

/** Rules that differ by numbers alone, as of layers, said as one. */
function alike(rules: readonly Rule[]): Rule[] {
  const masked = (prefix: string) => prefix.replace(/(?<=^|\.)\d+(?=\.)/g, '*')
  const groups = new Map<string, Rule>()
  for (const { base, tuned, pairs } of rules) {
    const rule = { base: masked(base), tuned: masked(tuned) }
    const key = `${rule.base} ${rule.tuned}`
    groups.set(key, { ...rule, pairs: pairs + (groups.get(key)?.pairs ?? 0) })
  }
  return [...groups.values()]
}

function wrapperWarning(base: Named, tuned: Named, count: number): string[] {
  if (count === 0) return []
  return [
    `the names of ${counted(count, 'tensor')} in ${tuned.path} and ${base.path} differ by what wrappers put into them (FSDP, torch.compile, checkpointing, DataParallel): they are paired without it`,
  ]
}

function warningOf(base: Named, tuned: Named, rule: Rule): string {
  if (rule.base !== '' && rule.tuned !== '') {
    return `${counted(rule.pairs, 'name')} in ${tuned.path} ${rule.pairs === 1 ? 'begins' : 'begin'} with ${quoted(rule.tuned)} where ${base.path} has ${quoted(rule.base)}: they are paired`
  }
  const [longer, shorter] = rule.base === '' ? [tuned, base] : [base, tuned]
  return `the names in ${longer.path} begin with ${quoted(rule.base || rule.tuned)}, which those in ${shorter.path} lack: they are paired without it`
}
