interface Bundle {
  readonly inputs: Readonly<Record<string, { readonly bytesInOutput: number }>>
}

export const MARKS: Readonly<Record<string, RegExp>>
export function bundledPackages(
  metafiles: readonly { readonly outputs: Readonly<Record<string, Bundle>> }[],
): string[]
export function licensesOf(folders: readonly string[], intro?: string): string
