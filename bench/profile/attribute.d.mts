import type { Phase } from './table.d.mts'

export interface Frame {
  readonly functionName: string
  readonly url: string
  readonly lineNumber: number
}

/** As V8's CPU profiles are, as far as they are read. Times are in microseconds. */
export interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: Frame
    readonly children?: readonly number[]
  }[]
  readonly startTime: number
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export interface Sample {
  readonly at: number
  readonly time: number
  readonly phase: string
  readonly isWait?: boolean
  readonly mayWait?: string
  readonly isPacking?: boolean
}

export const HELPER: string
export function samplesOf(profile: Profile, phases?: readonly Phase[]): Sample[]
export function phaseOfFunction(file: string, name: string): Phase | undefined
