import { badUsage } from '../../errors.ts'
import type { ReadingOptions } from '../../jobs/context.ts'
import { LOADERS, type Loader } from '../../lora/loaders/types.ts'
import { didYouMean } from '../../text/compare.ts'
import { checkOptions, flag, integer, type Kind, needed, path, READING, texts } from '../options.ts'
import { assertNamed } from '../resize/options.ts'

/** What `check` takes. */
export interface CheckOptions extends ReadingOptions {
  /** The adapter's folder or file. */
  readonly adapter: string
  /** The weights that it is for: tells names and shapes that are not theirs. */
  readonly base?: string | undefined
  /**
   * The loaders that have to load it, by their names in any case: PEFT, vLLM, SGLang, llama.cpp, TensorRT-LLM, MLX, diffusers, ComfyUI,
   * kohya, or all; by default those that it is meant for.
   */
  readonly for?: string | readonly string[] | undefined
  /** A rank above this is a defect. */
  readonly maxRank?: number | undefined
  /** Where to write the findings as SARIF 2.1.0. */
  readonly sarif?: string | undefined
  /** Replace the file of `sarif` where it exists. */
  readonly force?: boolean | undefined
  /** Read headers and configs alone, and no numbers. */
  readonly fast?: boolean | undefined
}

export interface CheckSettings {
  readonly adapter: string
  readonly base: string | undefined
  /** Undefined: those that it is meant for. */
  readonly loaders: readonly Loader[] | undefined
  readonly maxRank: number | undefined
  readonly sarif: string | undefined
  readonly force: boolean
  readonly fast: boolean
}

const names: Kind = {
  expected: `loaders by their names (${LOADERS.join(', ')}, or all)`,
  isValid: (value) => typeof value === 'string' || texts.isValid(value),
}

export const CHECK = {
  ...READING,
  adapter: needed(path),
  base: path,
  for: names,
  maxRank: integer(1),
  sarif: path,
  force: flag,
  fast: flag,
}

/** Other names that loaders go by. */
const ALIASES: Readonly<Record<string, Loader>> = {
  llamacpp: 'llama.cpp',
  gguf: 'llama.cpp',
  tensorrt: 'TensorRT-LLM',
  trtllm: 'TensorRT-LLM',
  mlxlm: 'MLX',
  comfy: 'ComfyUI',
  sdscripts: 'kohya',
  a1111: 'kohya',
  forge: 'kohya',
}

const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '')
const BY_NAME = new Map<string, Loader>([
  ...LOADERS.map((loader) => [plain(loader), loader] as const),
  ...Object.entries(ALIASES),
])

/** The loaders that these names mean, each once and in the table's order. Throws `bad-usage` on a name of none. */
export function loadersNamed(given: readonly string[]): Loader[] {
  const wanted = new Set<Loader>()
  for (const name of given) {
    if (plain(name) === 'all') return [...LOADERS]
    const loader = BY_NAME.get(plain(name))
    if (loader === undefined) {
      throw badUsage(
        `'${name}' is no loader that is known here${didYouMean(name, [...LOADERS])}: there are ${LOADERS.join(', ')}, and all`,
      )
    }
    wanted.add(loader)
  }
  return LOADERS.filter((loader) => wanted.has(loader))
}

/** Checks the options and fills in what was left out. Throws `bad-usage`. */
export function checkSettings(given: CheckOptions): CheckSettings {
  checkOptions('check', given, CHECK)
  const { adapter, base, maxRank, sarif, force = false, fast = false } = given
  assertNamed({
    '<adapter>': adapter,
    ...(base !== undefined && { '--base': base }),
    ...(sarif !== undefined && { '--sarif': sarif }),
  })
  const listed = typeof given.for === 'string' ? given.for.split(',') : given.for
  const wanted = listed?.map((name) => name.trim()).filter((name) => name !== '')
  if (wanted?.length === 0) throw badUsage(`--for names no loader: it takes ${names.expected}`)
  const loaders = wanted && loadersNamed(wanted)
  return { adapter, base, loaders, maxRank, sarif, force, fast }
}
