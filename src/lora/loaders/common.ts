import { PEFT_PREFIX } from '../names.ts'
import type { PeftConfig } from '../read/peft-config.ts'
import type { Fact, JudgedAdapter, Loader, LoaderRule, ModuleView } from './types.ts'

export const OTHER_FORMAT = 'it reads PEFT adapters'
export const OTHER_TASK = 'it reads adapters of diffusion models'
export const NO_NAMES = 'it finds no names such as'

/** A source as texts have it, `repository: file @date`, with the date apart. */
export function datedSource(text: string): Pick<Fact, 'source' | 'date'> {
  const [, source = text, date = ''] = /^(.*?),? ?@?((?:mid-)?\d{4}(?:-\d{2}(?:-\d{2})?)?)$/.exec(text) ?? []
  return { source, date }
}

/** What all facts of one file of a loader share. */
export const sourced =
  <L extends Loader>(loader: L, source: string, date: string) =>
  <F extends Omit<Fact, 'loader' | 'source' | 'date'>>(fact: F) => ({ loader, source, date, ...fact })

/** What loaders of PEFT's folders need before anything else. */
export function peftFolderRules(
  loader: 'PEFT' | 'vLLM' | 'SGLang' | 'llama.cpp' | 'TensorRT-LLM',
  id: string,
  source: string,
  date: string,
): LoaderRule[] {
  const fact = sourced(loader, source, date)
  const isOther = ({ format }: JudgedAdapter) =>
    format !== 'peft' && !(loader === 'llama.cpp' && format === 'gguf')
  return [
    {
      ...fact({ rule: `${id}-other-format`, effect: 'refuses', text: `${loader} reads PEFT adapters` }),
      ofAdapter: (adapter) => (isOther(adapter) ? OTHER_FORMAT : undefined),
      isFinal: true,
    },
    {
      ...fact({
        rule: `${id}-needs-config`,
        effect: 'refuses',
        text: `${loader} needs adapter_config.json beside the tensors, of a method that it knows`,
      }),
      ofAdapter: ({ format, config, hasBrokenConfig }) => {
        if (format !== 'peft' || config !== undefined) return undefined
        return hasBrokenConfig ? 'it can’t use this adapter_config.json' : 'it needs adapter_config.json'
      },
      isFinal: true,
    },
    ...(loader === 'PEFT'
      ? []
      : [
          {
            ...fact({
              rule: `${id}-other-method`,
              effect: 'refuses' as const,
              text: `${loader} reads LoRA, and neither LoHa nor LoKr`,
            }),
            ofAdapter: ({ config }: JudgedAdapter) =>
              config !== undefined && config.method !== 'LORA'
                ? 'it reads LoRA, and neither LoHa nor LoKr'
                : undefined,
            isFinal: true as const,
          },
        ]),
  ]
}

/** Names listed at most in a reason. */
const LISTED = 3
export const someOf = (names: readonly string[]) =>
  names.length <= LISTED
    ? names.join(', ')
    : `${names.slice(0, LISTED).join(', ')} and ${names.length - LISTED} more`

/** A rule's question of the config, of adapters that have one. */
export const ofConfig =
  (reasonOf: (config: PeftConfig, adapter: JudgedAdapter) => string | undefined) =>
  (adapter: JudgedAdapter): string | undefined =>
    adapter.config && reasonOf(adapter.config, adapter)

/** What depends on the adapter alone is made once. */
export function remembered<T>(make: (adapter: JudgedAdapter) => T): (adapter: JudgedAdapter) => T {
  const known = new WeakMap<JudgedAdapter, T>()
  return (adapter) => {
    const before = known.get(adapter)
    if (before !== undefined) return before
    const made = make(adapter)
    known.set(adapter, made)
    return made
  }
}

/** Of a module whose path holds PEFT's prefix, which loaders take away at the beginning alone. */
export const prefixAmidNames = ({ path }: ModuleView): string | undefined =>
  path.includes(PEFT_PREFIX)
    ? `it finds nothing of it: ${PEFT_PREFIX} stands amid its names, and no model has such a module`
    : undefined
