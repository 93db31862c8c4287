/** Stands for the modules of io/remote/ that reach for the network: a page reads nothing from elsewhere. */

const nowhere = {
  readAs: new Map<string, string>(),
  cached: new Map<string, string>(),
  received: (_bytes: number) => {},
}

export const network = () => nowhere
export const inNetwork = <T>(_options: unknown, work: () => Promise<T>) => work()
export const workerNetwork = (_workers: number): undefined => undefined
export function adoptNetwork(_given: unknown, _told: unknown): void {}

export const comesByNetwork = (_path: string): boolean => false
export const cachedName = (repository: string): string => repository
export const asRead = (path: string): string => path
export const pinned = async (address: string): Promise<string> => address
export const keepParts = async (_file: string, _ranges: unknown): Promise<void> => {}
export const bytesToCome = (_ranges: unknown): number => 0
export const pointingIntoCache = async (error: unknown): Promise<unknown> => error
export const readingOn = <T>(source: T, _end: number): T => source
/** Where no file is. */
export const hubCacheFolder = (_surroundings: unknown): string => '/nobody/hub'
