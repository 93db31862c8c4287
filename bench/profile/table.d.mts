export interface Phase {
  readonly name: string
  /** By file: all of its functions, or those named. */
  readonly functions: Readonly<Record<string, '*' | readonly string[]>>
  /** Phases that are its own where they run below it. */
  readonly parts?: readonly string[]
  /** An idle thread in the middle of it waits for files: always, or if no other thread is busy. */
  readonly waits?: true | 'alone'
}

export const PHASES: readonly Phase[]
