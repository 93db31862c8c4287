/** What was chosen for one side: the path that the rooms read, and the files below it by their paths. */
export interface Chosen {
  readonly path: string
  readonly files: readonly (readonly [path: string, file: File])[]
}

export interface Inputs {
  readonly weights: Chosen
  readonly base?: Chosen
}
