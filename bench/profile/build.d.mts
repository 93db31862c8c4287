type Edits = Readonly<Record<string, readonly (readonly [before: string, after: string])[]>>

export const EDITS: Readonly<Record<'profiled' | 'counting', Edits>>
export function buildCounting(folder: string): Promise<string>
