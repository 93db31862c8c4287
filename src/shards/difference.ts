import { isSame, type RunIdentity } from '../io/run-folder.ts'

/** What of an identity is another's, in words: `inputs`, or `options` with their names; undefined where the two are the same. */
export function differenceOf(
  found: Partial<RunIdentity>,
  { inputs, options }: RunIdentity,
): string | undefined {
  if (!isSame(found.options, options)) {
    const names = differing(found.options, options)
    return `options${names.length > 0 ? ` (${names.join(', ')})` : ''}`
  }
  return isSame(found.inputs, inputs) ? undefined : 'inputs'
}

function differing(a: unknown, b: unknown): string[] {
  const [one, other] = [a ?? {}, b ?? {}] as Record<string, unknown>[]
  const names = new Set([...Object.keys(one), ...Object.keys(other)])
  return [...names].filter((name) => !isSame(one[name], other[name]))
}
