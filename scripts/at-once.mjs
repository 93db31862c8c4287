// What a command loads when it is met, a program that imports the library loads at once: as files of their own these parts, and all
// that they share with others, would be three times as many files to open, which takes longer than to compile them.
import { readFileSync } from 'node:fs'

/** Where modules are imported when they are met, but those of engines and of the demo, which load packages or kernels. */
const PLACES = /[\\/]src[\\/](formats|checkpoint|commands[\\/]inspect)[\\/][\w-]+\.ts$/

/** The plugin of esbuild that imports them with the module that needs them. */
export const atOnce = {
  name: 'at-once',
  setup({ onLoad }) {
    onLoad({ filter: PLACES }, ({ path }) => {
      const imports = []
      const code = readFileSync(path, 'utf8').replace(/\bawait import\(('[^']+\.ts')\)/g, (_, module) => {
        const name = `atOnce${imports.length}`
        imports.push(`import * as ${name} from ${module}`)
        return name
      })
      return { contents: [...imports, code].join('\n'), loader: 'ts' }
    })
  },
}
