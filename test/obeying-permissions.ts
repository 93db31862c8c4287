/**
 * What comes before a command that has to obey permissions as its user's processes do. Root's don't, unless they lack these
 * two capabilities; to become another user instead could take away what the command itself has to read.
 */
export const obeyingPermissions: readonly string[] =
  process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] : []
