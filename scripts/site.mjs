// Makes dist/site/, ready for any host of files: the page as the build made it, with nothing preset.
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs'

const PAGE = 'dist/site/index.html'

mkdirSync('dist/site', { recursive: true })
copyFileSync('dist/page.html', PAGE)
// GitHub Pages is to serve the files as they are
writeFileSync('dist/site/.nojekyll', '')
console.log(`${PAGE}  ${statSync(PAGE).size} bytes`)
