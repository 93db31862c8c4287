import type { Verdict } from '../../lora/loaders/judge.ts'
import type { Effect, Loader } from '../../lora/loaders/types.ts'
import type { Adapter } from '../../lora/model.ts'
import type { Severity } from './rules.ts'

/** A fact of a loader that holds of the adapter, or a defect of the file that concerns it. */
export interface LoaderReason {
  /** Stable, in kebab case; of a defect the defect's. */
  readonly rule: string
  readonly effect: Effect
  /** Why, as half a sentence: `it refuses DoRA`. Of several modules that of the first. */
  readonly reason: string
  /** Labels of the modules that it is of; all of them where neither modules nor tensors are told. */
  readonly modules?: readonly string[]
  /** Tensors that are of no module: whole ones, and factors of which no module could be made. */
  readonly tensors?: readonly string[]
  /** By what the loader multiplies the first of the modules, and what is meant. */
  readonly scale?: { readonly found: number; readonly expected: number }
  /** Repository and file of the loader in which this was read, and when; of most defects none. */
  readonly source?: string
  readonly date?: string
}

/** What a loader makes of the adapter. */
export interface CheckedLoader {
  readonly loader: Loader
  readonly verdict: Verdict
  /** Modules that have an effect, of those that could be read. */
  readonly loaded: number
  readonly reasons: readonly LoaderReason[]
}

/** What is wrong with the file itself. */
export interface CheckedDefect {
  readonly rule: string
  readonly severity: Severity
  readonly message: string
  /** What to do. */
  readonly advice: string
  readonly file: string
  /** The modules or tensors that it is of; empty where it is of the whole file. */
  readonly names: readonly string[]
  readonly source: string
}

/** Which loaders load an adapter, and what is wrong with it. */
export interface CheckResult {
  /** As given, and the file that holds the tensors. */
  readonly source: { readonly adapter: string; readonly file: string; readonly base?: string }
  /** Undefined where nothing of an adapter was found. */
  readonly format?: Adapter['format']
  /** Of diffusion models: the base's, or where names tell it. */
  readonly family?: string
  readonly modules: number
  /** Modules and tensors that could not be read: to loaders they are defects. */
  readonly leftOut: number
  /** Whole tensors: differences that are added to the base's, or what takes their place. */
  readonly whole: number
  /** Tensors besides factors: whole ones, and such as nobody reads. */
  readonly others: number
  /** Of the modules that are LoRA. */
  readonly ranks?: { readonly atLeast: number; readonly atMost: number }
  readonly bytes: number
  /** Those that were asked for, or that it is meant for. */
  readonly loaders: readonly CheckedLoader[]
  readonly defects: readonly CheckedDefect[]
  /** All loaders load all of it as it is meant, and no defect is an error. */
  readonly holds: boolean
  /** The numbers were looked at, not only the headers. */
  readonly readNumbers: boolean
  readonly warnings: readonly string[]
  readonly seconds: number
}
