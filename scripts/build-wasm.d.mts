export function buildWasm(options?: { force?: boolean }): Promise<Record<string, number>>
