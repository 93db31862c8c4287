import packageJson from '../package.json' with { type: 'json' }

/** The version of this package, as every JSON document carries it. */
export const version: string = packageJson.version
