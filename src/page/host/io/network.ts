/** Stands for the modules of io/remote/ that reach for the network: a page reads nothing from elsewhere. */

const nowhere = { readAs: new Map<string, string>() }

export const network = () => nowhere
export const inNetwork = <T>(_env: unknown, _signal: unknown, _notice: unknown, work: () => Promise<T>) =>
  work()
export const workerNetwork = (_workers: number): undefined => undefined
export function adoptNetwork(_given: unknown, _notice: unknown): void {}

export const asRead = (path: string): string => path
export const pinned = async (address: string): Promise<string> => address
export const keepParts = async (_file: string, _ranges: unknown): Promise<void> => {}
export const readingOn = <T>(source: T, _end: number): T => source
/** Where no file is. */
export const hubCacheFolder = (_surroundings: unknown): string => '/nobody/hub'
