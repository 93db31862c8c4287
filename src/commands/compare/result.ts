import type { AdapterFormat } from '../../lora/model.ts'

/** An adapter that was compared. */
export interface ComparedAdapter {
  readonly path: string
  readonly format: AdapterFormat
  /** The matrices that it changes: one of each module, of stacked experts one of each expert. */
  readonly layers: number
  /** Its numerical ranks, the least and the largest. */
  readonly ranks: { readonly atLeast: number; readonly atMost: number }
  /** ‖Δ‖_F over all layers. */
  readonly frobenius: number
  /** Its change is more than scale·B·A, of which alone all figures are. */
  readonly isDora: boolean
}

/** A layer that an adapter changes. */
export interface ComparedLayer {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** The numerical rank of each adapter's change; undefined where it has none of the layer. */
  readonly ranks: readonly (number | undefined)[]
  /** ‖Δ‖_F of each. */
  readonly norms: readonly (number | undefined)[]
}

/** What overlap two subspaces of these dimensions have that know nothing of each other. */
export interface SubspaceFigures {
  /** Of the column spaces, U. */
  readonly columns: number
  /** Of the row spaces, V. */
  readonly rows: number
}

/** How two changes lie to each other, in a layer or over all layers; NaN where one of them does nothing. */
export interface OverlapFigures {
  readonly cosine: number
  /** The mean cos² of the principal angles. */
  readonly overlap: SubspaceFigures
  /** What the mean cos² of subspaces in random position would be. */
  readonly chance: SubspaceFigures
  /** The share of ‖Δ‖² of each that lies in the column and row spaces of the other. */
  readonly kept: readonly [first: number, second: number]
}

export interface PairLayer extends OverlapFigures {
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  readonly ranks: readonly [number, number]
  /** In degrees, ascending; of two adapters alone. */
  readonly angles?: { readonly columns: readonly number[]; readonly rows: readonly number[] }
}

/** Two adapters beside each other. */
export interface ComparedPair extends OverlapFigures {
  /** Their numbers, from 0. */
  readonly adapters: readonly [number, number]
  /** Layers that both change. */
  readonly layers: readonly PairLayer[]
}

/** Adapters each of which is near another one of them. */
export interface AdapterGroup {
  readonly adapters: readonly number[]
  /** The least cosine of any two of them. */
  readonly leastCosine: number
}

/** What an adapter holds besides factors, and what nobody reads. */
export interface NotCompared {
  /** The number of the adapter. */
  readonly adapter: number
  readonly name: string
  readonly kind: 'whole' | 'bias' | 'unread'
  /** Why nobody reads it. */
  readonly reason?: string
}

type Table = readonly (readonly number[])[]

/** How far adapters overlap. */
export interface CompareResult {
  readonly source: { readonly adapters: readonly string[]; readonly base?: string }
  readonly adapters: readonly ComparedAdapter[]
  readonly layers: readonly ComparedLayer[]
  /** Layers that one adapter alone changes. */
  readonly alone: readonly { readonly name: string; readonly adapter: number }[]
  readonly totals: {
    readonly layers: number
    /** Layers that all adapters change. */
    readonly inAll: number
    /** Layers that several change, and not all. */
    readonly inSome: number
    /** Layers that one alone changes. */
    readonly inOne: number
    readonly pairs: number
  }
  /** ⟨Δᵢ, Δⱼ⟩ / (‖Δᵢ‖‖Δⱼ‖) over all layers, those of one alone too; NaN with an adapter that does nothing. */
  readonly cosines: Table
  /** The mean cos² of all principal angles in the layers that both change; NaN where they share none. */
  readonly overlaps: { readonly columns: Table; readonly rows: Table }
  /** The share of ‖Δᵢ‖² (row) that lies in the spaces of Δⱼ (column), layers that j lacks counting as none. */
  readonly kept: Table
  /** The nearest pairs, by the size of the cosine. */
  readonly pairs: readonly ComparedPair[]
  readonly groups: { readonly threshold: number; readonly members: readonly AdapterGroup[] }
  readonly notCompared: readonly NotCompared[]
  readonly warnings: readonly string[]
  readonly engine: string
  readonly seconds: number
}
