import type { UnmatchedReason } from '../../checkpoint/pair.ts'
import type { WeighedOutput } from '../../combine/result.ts'
import type { LoaderGap } from '../../convert/convert.ts'
import type { QuantisationShare } from '../../linalg/spectrum/quantisation.ts'
import type { AskedRule } from '../../linalg/spectrum/rules.ts'
import type { Interval } from '../../linalg/spectrum/spectrum.ts'
import type { NotLoaded } from '../../lora/found-by-loaders.ts'
import type { NoModule } from '../../lora/kinds.ts'
import type { AdapterFormat } from '../../lora/model.ts'
import type { AdapterLayout } from '../../lora/write/peft.ts'
import type { NotCarried, VerifiedTensor } from '../../measure/measure.ts'
import type { Shard } from '../../shards/shard.ts'

/** What of a change is the rounding of a quantised base, estimated from the steps of its blocks, and what factors carry of that. */
export interface Quantisation extends QuantisationShare {
  /** As the base is stored: q4_k, for example. */
  readonly dtype: string
}

/** One matrix as it was extracted and measured. */
export interface ExtractedLayer {
  /** The tensor's name in the tuned checkpoint. */
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** dtype of the factors. */
  readonly dtype: string
  /** Directions that the factors carry; what is stored may be padded with zeros. */
  readonly rank: number
  readonly storedRank: number
  /** ‖Δ − B·A‖_F / ‖Δ‖_F, measured on what lies on disk. */
  readonly relativeError: number
  /** The same of the best approximation of that rank. */
  readonly optimalError: Interval
  /** In the norm that the layer's inputs feel, where moments weigh it. */
  readonly output?: WeighedOutput
  /** ‖Δ‖_F. */
  readonly frobenius: number
  /** ‖Δ‖_F / ‖base‖_F. */
  readonly relativeChange: number
  /** Singular values up to this can't be told from the rounding of the stored dtypes; where the rule asked for it. */
  readonly noiseFloor?: number
  /** Where the base is quantised: what of the change is its rounding, and what the factors carry of that. */
  readonly quantisation?: Quantisation
  /** Why the interval of the best error is wider than asked, where it is. */
  readonly openBecause?: string
  readonly engine: string
  readonly seconds: number
}

/** Why a tensor that changed, or may have, is not carried. */
export type LeftReason =
  /** The two models don't both have it, or not in a form that can be factored. */
  | { readonly kind: Exclude<UnmatchedReason, 'shape'> }
  /** Left out by `include` or `exclude`. */
  | { readonly kind: 'left-out' }
  /** It was asked to be stored whole. */
  | { readonly kind: 'asked-whole' }
  /** PEFT's LoRA can't adapt it. */
  | ({ readonly kind: 'no-module' } & NoModule)
  /** It is of a diffusion model's VAE, which no adapter changes, or of a text encoder, and these were not wanted. */
  | { readonly kind: 'vae' | 'text-encoder' }
  /** The tools of the format that is written have no name for it, or pass over it. */
  | { readonly kind: 'no-place'; readonly reason: string }
  /** No rank was chosen for it: as nothing changed, nothing stands out, nothing stands above rounding, or the rule took none. */
  | { readonly kind: 'equal-numbers' | 'not-understood' | 'below-noise' | 'no-rank' }

/** A tensor that changed, or may have, and that the adapter leaves as it was. */
export interface LeftBecause extends Omit<NotCarried, 'reason'> {
  readonly because: LeftReason
  /** Why it could not be stored whole either, where that was asked for. */
  readonly notWhole?: string
}

/** What was guaranteed of an adapter and does not hold. */
export type BrokenGuarantee =
  /** The error that was found on disk, and the one that was allowed. */
  | { readonly kind: 'error'; readonly name: string; readonly found: number; readonly allowed: number }
  | { readonly kind: 'budget'; readonly written: number; readonly asked: number }
  | ({ readonly kind: 'not-loaded' } & NotLoaded)

/** Over all layers whose base is quantised. */
export interface QuantisationTotals extends QuantisationShare {
  readonly layers: number
  /** Their dtypes, sorted. */
  readonly dtypes: readonly string[]
  /** Of what the factors leave of the change: how much is rounding of the base. */
  readonly ofRest: number
}

/** What a byte budget was spent on. */
export interface BudgetSpent {
  readonly bytes: number
  readonly used: number
  /** What any other split in this layout could at most take from the squared error, relative to Σ‖Δ‖_F². */
  readonly couldGain: number
}

/** What was extracted, written, and measured on disk. */
export interface ExtractResult {
  readonly source: { readonly base: string; readonly tuned: string }
  readonly rule: AskedRule
  readonly layout: AdapterLayout
  readonly layers: readonly ExtractedLayer[]
  /** Written whole. */
  readonly saved: readonly VerifiedTensor[]
  readonly unchanged: readonly string[]
  readonly notCarried: readonly LeftBecause[]
  readonly totals: {
    readonly layers: number
    /** Entries of the matrices that are carried. */
    readonly parameters: number
    /** Entries of the factors as stored. */
    readonly adapterParameters: number
    readonly ratio: number
    /** Over the layers, measured. */
    readonly relativeError: number
    /** Over all that changed; what one of the two lacks counts as zero. */
    readonly wholeRelativeError: number
    /** The best possible at these ranks, over the layers. */
    readonly optimalError: Interval
    /** In the norm of the inputs, over the layers that moments weigh; left out where none were given. */
    readonly output?: {
      readonly layers: number
      readonly relativeError: number
      readonly optimalError: Interval
      /** Layers without moments. */
      readonly unweighed: readonly string[]
    }
    /** Layers whose bounds hold but for a small chance each; left out where there are none. */
    readonly certified?: number
    /** Tensors that both models have, or that are stored whole. */
    readonly matched: number
    /** Tensors that one model alone has, or that can't be compared, and that aren't stored whole. */
    readonly unmatched: number
    /** Over the layers whose base is quantised; left out where there are none. */
    readonly quantisation?: QuantisationTotals
    readonly bytesRead: number
    readonly bytesWritten: number
  }
  readonly budget?: BudgetSpent
  readonly broken: readonly BrokenGuarantee[]
  readonly holds: boolean
  /** What loaders don't do right with modules of the adapter. */
  readonly gaps: readonly LoaderGap[]
  readonly output: {
    readonly path: string
    readonly format: AdapterFormat
    readonly bytes: number
    readonly files: readonly string[]
  }
  /** Layers taken over from an earlier run that was killed. */
  readonly resumed: number
  /** Where the layers were computed in shards: so many of them. */
  readonly joined?: { readonly shards: number; readonly layers: number }
  readonly warnings: readonly string[]
  readonly seconds: number
  readonly engine: string
}

/** A module of the adapter, and the tensors of the base whose change it holds, or parts of. */
export interface PlacedModule {
  readonly name: string
  readonly weights: readonly string[]
}

/** What a sample of rows says of the rounding of a quantised base before anything is decomposed. */
export interface PlannedQuantisation {
  /** As the base is stored. */
  readonly dtype: string
  /** Of ‖Δ‖_F²: what is rounding of the base. */
  readonly share: number
  /** Of the energy of that rounding: what the rank carries at most. Left out where the rank is not known yet. */
  readonly carriedAtMost?: number
}

/** What a dry run says: all that headers and equal bytes tell. */
export interface ExtractPreview {
  readonly source: { readonly base: string; readonly tuned: string }
  readonly rule: AskedRule
  readonly layout: AdapterLayout
  readonly layers: readonly {
    readonly name: string
    readonly shape: readonly [rows: number, columns: number]
    /** As stored in the tuned checkpoint. */
    readonly dtype: string
    /** Where the rule tells before anything is computed. */
    readonly rank?: number
    /** Of both factors, where the rank is known. */
    readonly bytes?: number
    readonly quantisation?: PlannedQuantisation
  }[]
  readonly saved: readonly { readonly name: string; readonly bytes: number }[]
  readonly unchanged: readonly string[]
  readonly notCarried: readonly Pick<LeftBecause, 'name' | 'because' | 'notWhole'>[]
  readonly totals: {
    readonly layers: number
    readonly parameters: number
    readonly matched: number
    readonly unmatched: number
    /** Where moments were given: of how many layers there are none, and of which. */
    readonly moments?: { readonly layers: number; readonly unweighed: readonly string[] }
    readonly quantisation?: Pick<QuantisationTotals, 'layers' | 'dtypes' | 'share'> &
      Pick<PlannedQuantisation, 'carriedAtMost'>
  }
  /** Pairs of factors of formats that have names of their own for modules, by these names. */
  readonly modules: readonly PlacedModule[]
  readonly gaps: readonly LoaderGap[]
  readonly output: {
    readonly path: string
    readonly format: AdapterFormat
    readonly dtype: string
    /** Bytes of the whole adapter, exactly, where the ranks are known. */
    readonly bytes?: number
    /** On the file system of the output. */
    readonly free: number
  }
  /** Layers that an unfinished run has done already. */
  readonly resumable: number
  /** The part that is asked for. */
  readonly shard?: PlannedShard
  /** What there is to be joined. */
  readonly join?: PlannedJoin
  readonly warnings: readonly string[]
}

/** What one shard would compute, and what remains for when all are done. */
export interface PlannedShard extends Shard {
  /** The names of its layers. */
  readonly layers: readonly string[]
  /** Its share of the work of all. */
  readonly work: number
  /** The ranks depend on all layers, so that some may have to be computed again at a higher rank: by the join, or by the same shards once more. */
  readonly mayTakeRounds: boolean
}

/** What a join finds of one shard. */
export interface JoinedShard extends Shard {
  /** How many layers it has to compute in the first round. */
  readonly layers: number
  /** The names of those that are not there. */
  readonly missing: readonly string[]
  /** Which process is at work on it, or may be, in words. */
  readonly worker?: string
}

/** What a join would find of all shards. */
export interface PlannedJoin {
  readonly shards: readonly JoinedShard[]
  /** Files of layers that are not what a shard of this job wrote: they count as missing. */
  readonly damaged: readonly string[]
  /** The ranks depend on all layers, so that the join may compute some again at a higher rank. */
  readonly mayTakeRounds: boolean
  /** All layers are there, and no shard is at work. */
  readonly isReady: boolean
}

/** What one shard of a job has computed. Nothing is assembled yet. */
export interface ExtractShard {
  readonly source: { readonly base: string; readonly tuned: string }
  readonly rule: AskedRule
  readonly layout: AdapterLayout
  readonly shard: Shard
  /** The last round of which this shard's part is done; above 1 where the ranks depend on all layers. */
  readonly round: number
  /** Whether nothing but the join is left to this shard; otherwise another round may follow once all shards have done this one. */
  readonly isSettled: boolean
  /** Its layers, in each round that asked for them. */
  readonly layers: readonly {
    readonly name: string
    readonly shape: readonly [rows: number, columns: number]
    readonly round: number
    /** Singular triplets that are kept. */
    readonly rank: number
    readonly engine: string
    readonly seconds: number
  }[]
  readonly totals: {
    /** Of this shard, in the first round. */
    readonly layers: number
    /** Of all shards. */
    readonly ofLayers: number
    /** Its share of the first round's work. */
    readonly work: number
  }
  /** Layers that an earlier run of this shard had done. */
  readonly resumed: number
  readonly kept: { readonly path: string; readonly bytes: number }
  readonly warnings: readonly string[]
  readonly seconds: number
  readonly engine: string
}
