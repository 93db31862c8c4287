export interface PairRecipe {
  readonly layers: number
  readonly hidden: number
}

export function recipeOf(options: Partial<PairRecipe>): PairRecipe
export function makePair(folder: string, recipe: PairRecipe): void
