import type { Verdict } from '../../lora/loaders/judge.ts'
import type { Effect, Loader } from '../../lora/loaders/types.ts'
import type { Adapter } from '../../lora/model.ts'
import type { Severity } from './rules.ts'

/** A fact of a loader that holds of the adapter. */
export interface LoaderReason {
  /** Stable, in kebab case. */
  readonly rule: string
  readonly effect: Effect
  /** Why, as half a sentence: `it refuses DoRA`. Of several modules that of the first. */
  readonly reason: string
  /** Labels of the modules that it is of; all of them where neither modules nor tensors are told. */
  readonly modules?: readonly string[]
  /** Tensors that are no factors. */
  readonly tensors?: readonly string[]
  /** By what the loader multiplies the first of the modules, and what is meant. */
  readonly scale?: { readonly found: number; readonly expected: number }
  /** Repository and file in which this was read, and when. */
  readonly source: string
  readonly date: string
}

/** What a loader makes of the adapter. */
export interface CheckedLoader {
  readonly loader: Loader
  readonly verdict: Verdict
  /** Modules that have an effect. */
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
  /** Of diffusion models, where names tell it. */
  readonly family?: string
  readonly modules: number
  /** Modules and tensors that could not be read: what is said of loaders is of the others. */
  readonly leftOut: number
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
