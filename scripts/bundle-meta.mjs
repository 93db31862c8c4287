// What a bundle that is CommonJS has in place of import.meta.
import { pathToFileURL } from 'node:url'

export const bundleMeta = {
  get url() {
    return pathToFileURL(__filename).href
  },
}
