import { addTo } from '../text/compare.ts'
import { formOf } from './matrices.ts'
import type { StoredTensor } from './types.ts'

/** A tensor under the name that wrappers leave it. */
export interface Candidate {
  readonly plain: string
  readonly tensor: StoredTensor
}

/** One prefix for another: tuned names that begin with `tuned` are the base's with `base` instead. Dots at the ends. */
export interface Rule {
  readonly base: string
  readonly tuned: string
  /** How many tensors were paired by it. */
  readonly pairs: number
}

export interface Renaming {
  readonly pairs: readonly (readonly [base: Candidate, tuned: Candidate])[]
  /** The rule with the most pairs first. */
  readonly rules: readonly Rule[]
}

/** Parts of a name that a prefix may have: `conditioner.embedders.0.transformer.` has four. */
const MOST_PARTS = 4

/** Base tensors that one ending and shape may stand for; with more it says nothing, and time stays linear. */
const MOST_CANDIDATES = 8

/** Parts are paired one after the other; a model has a few: text, vision, projector, head. */
const MOST_ROUNDS = 8

/**
 * Pairs tensors of one shape whose names differ by a prefix, part by part: each ending that two names share is a vote for
 * putting one prefix for the other. A pair is taken where both of its tensors have more votes for each other than for any third,
 * and where most of what begins with the two prefixes is paired by them; then the rest votes again. What ties is left
 * unpaired.
 */
export function renaming(base: readonly Candidate[], tuned: readonly Candidate[]): Renaming {
  const all = { base: countPrefixes(base), tuned: countPrefixes(tuned) }
  const pairs: [Candidate, Candidate][] = []
  const counts = new Map<string, Rule>()
  let rest = { base, tuned }
  for (let round = 0; round < MOST_ROUNDS && rest.base.length > 0 && rest.tuned.length > 0; round++) {
    const found = pairsOfRound(rest, all)
    if (found.length === 0) break
    for (const { base: b, tuned: t, rule } of found) {
      pairs.push([b, t])
      const key = keyOf(rule)
      const { base, tuned } = rule
      counts.set(key, { base, tuned, pairs: (counts.get(key)?.pairs ?? 0) + 1 })
    }
    const taken = new Set(found.flatMap((pair) => [pair.base, pair.tuned]))
    const isLeft = (one: Candidate) => !taken.has(one)
    rest = { base: rest.base.filter(isLeft), tuned: rest.tuned.filter(isLeft) }
  }
  return { pairs, rules: [...counts.values()].sort((a, b) => b.pairs - a.pairs) }
}

interface Sides<T> {
  readonly base: T
  readonly tuned: T
}
type Prefixes = Sides<string>

interface Vote {
  readonly base: Candidate
  readonly tuned: Candidate
  readonly rule: Counted
}

/** One prefix for another, and how many votes it has: one object for all of them. */
interface Counted extends Prefixes {
  votes: number
}

function pairsOfRound(rest: Sides<readonly Candidate[]>, all: Sides<ReadonlyMap<string, number>>): Vote[] {
  const votes = votesOf(rest)
  const left = { base: countPrefixes(rest.base), tuned: countPrefixes(rest.tuned) }
  const strength = ({ rule }: Vote) => rule.votes
  // of rules that say the same, the one with the shortest prefixes
  const best = new Map<Candidate, Vote>()
  for (const vote of votes) {
    for (const one of [vote.base, vote.tuned]) {
      const before = best.get(one)
      const gain = before === undefined ? 1 : strength(vote) - strength(before)
      if (gain > 0 || (gain === 0 && lengthOf(vote.rule) < lengthOf(before!.rule))) best.set(one, vote)
    }
  }
  const isPair = (a: Vote, b: Vote | undefined) => a.base === b?.base && a.tuned === b.tuned
  const contested = new Set<Candidate>()
  for (const vote of votes) {
    for (const one of [vote.base, vote.tuned]) {
      const first = best.get(one)!
      if (!isPair(vote, first) && strength(vote) === strength(first)) contested.add(one)
    }
  }
  return [...best].flatMap(([one, vote]) => {
    const { base, tuned, rule } = vote
    const isMutual = one === tuned && isPair(vote, best.get(base))
    const isClear = isMutual && !contested.has(base) && !contested.has(tuned)
    return isClear && isCarried(rule, left, all) ? [vote] : []
  })
}

/**
 * Whether enough speaks for a rule. Where the longer prefix holds all parts of the shorter, as where a part was put in, more
 * than half of what is left on one side; for two prefixes that have nothing in common, of all on both.
 */
function isCarried(
  { base, tuned, votes }: Counted,
  left: Sides<ReadonlyMap<string, number>>,
  all: Sides<ReadonlyMap<string, number>>,
): boolean {
  if (isWithin(base, tuned) || isWithin(tuned, base)) {
    return 2 * votes > Math.min(left.base.get(base)!, left.tuned.get(tuned)!)
  }
  // amid layers it is another module, and not another name of one
  if (numbersOf(base) !== '' || numbersOf(tuned) !== '') return false
  return votes > 1 && 2 * votes > Math.max(all.base.get(base)!, all.tuned.get(tuned)!)
}

/** Every way in which two names of tensors of one shape end alike. */
function votesOf({ base, tuned }: Sides<readonly Candidate[]>): Vote[] {
  const byEnding = new Map<string, { readonly prefix: string; readonly candidate: Candidate }[]>()
  const add = (key: string, prefix: string, candidate: Candidate) =>
    addTo(byEnding, key, { prefix, candidate })
  for (const candidate of base) {
    const shape = formOf(candidate.tensor.shape).join()
    for (const { prefix, ending } of splits(candidate.plain)) {
      add(`${numbersOf(prefix)}|${ending}|${shape}`, prefix, candidate)
      add(`any|${ending}|${shape}`, prefix, candidate)
      if (prefix === '') add(`whole|${ending}|${shape}`, prefix, candidate)
    }
  }
  const votes: Vote[] = []
  const rules = new Map<string, Map<string, Counted>>()
  const ruleOf = (before: string, after: string) => {
    const ofAfter = rules.get(after) ?? new Map<string, Counted>()
    rules.set(after, ofAfter)
    const rule = ofAfter.get(before) ?? { base: before, tuned: after, votes: 0 }
    ofAfter.set(before, rule)
    rule.votes++
    return rule
  }
  for (const candidate of tuned) {
    const shape = formOf(candidate.tensor.shape).join()
    for (const { prefix, ending } of splits(candidate.plain)) {
      const ofNumbers = byEnding.get(`${numbersOf(prefix)}|${ending}|${shape}`) ?? []
      const others = byEnding.get(`${prefix === '' ? 'any' : 'whole'}|${ending}|${shape}`) ?? []
      const found = new Set([...few(ofNumbers), ...few(others)])
      const seen = new Set<Candidate>()
      for (const { prefix: before, candidate: other } of found) {
        // one part alone, as `weight`, says nothing
        const isSaid = ending.includes('.') || prefix === '' || before === ''
        if (!isSaid || seen.has(other)) continue
        seen.add(other)
        votes.push({ base: other, tuned: candidate, rule: ruleOf(before, prefix) })
      }
    }
  }
  return votes
}

const few = <T>(found: readonly T[]): readonly T[] => (found.length > MOST_CANDIDATES ? [] : found)

/** A name as a prefix of some parts and the rest, the empty prefix included. */
function splits(name: string): { readonly prefix: string; readonly ending: string }[] {
  const found = [{ prefix: '', ending: name }]
  for (let at = name.indexOf('.'); at >= 0 && found.length <= MOST_PARTS; at = name.indexOf('.', at + 1)) {
    found.push({ prefix: name.slice(0, at + 1), ending: name.slice(at + 1) })
  }
  return found
}

/** The numbers among the parts of a prefix: a layer is never another one. */
const numbersOf = (prefix: string) => (prefix.match(/(?<=^|\.)\d+(?=\.)/g) ?? []).join()

function countPrefixes(candidates: readonly Candidate[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { plain } of candidates) {
    for (const { prefix } of splits(plain)) counts.set(prefix, (counts.get(prefix) ?? 0) + 1)
  }
  return counts
}

/** Whether the parts of one prefix are in the other, in their order. */
function isWithin(short: string, long: string): boolean {
  const wanted = short.split('.').slice(0, -1)
  let at = 0
  for (const part of long.split('.').slice(0, -1)) if (part === wanted[at]) at++
  return at === wanted.length
}

const keyOf = ({ base, tuned }: Prefixes) => `${base}\0${tuned}`
const lengthOf = ({ base, tuned }: Prefixes) => base.length + tuned.length
