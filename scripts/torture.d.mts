export interface Trial {
  readonly name: string
  readonly does: string
  readonly run: string
  readonly needs?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

export const TRIALS: readonly Trial[]
export function missingTools(needs: readonly string[], path?: string): string[]
