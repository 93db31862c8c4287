import { totalmem } from 'node:os'

/**
 * The share of the machine's memory that jobs get where nobody says: the rest keeps the files that are read cached, and is
 * there for all that an estimate leaves out.
 */
const SHARE = 0.5

/** How much memory jobs may take together where nobody says, in bytes. A container's limit counts as the machine's memory. */
export const defaultMemory = (): number => memoryOf(totalmem(), process.constrainedMemory?.())

/** `limit`: what the process is limited to; 0, undefined or more than there is where nothing limits it. */
export const memoryOf = (total: number, limit = 0): number =>
  Math.floor(SHARE * (limit > 0 ? Math.min(limit, total) : total))
