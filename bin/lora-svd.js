#!/usr/bin/env node
keepCompiled()
const { main } = await import('../dist/cli.js')
await main(process.argv.slice(2))

/**
 * Has Node keep what it compiles of this program in the user's folder of caches, so that the next start is faster: from Node 22.8 on.
 * With NODE_COMPILE_CACHE it is kept in that folder, with NODE_DISABLE_COMPILE_CACHE=1 nowhere. Node holds it to the program's text and to a
 * checksum before it uses it, and goes on without it where the folder can't be made, read or written.
 */
function keepCompiled() {
  const { env, getBuiltinModule } = process
  const enable = getBuiltinModule?.('node:module').enableCompileCache
  if (enable === undefined) return
  try {
    const caches = env.XDG_CACHE_HOME || `${getBuiltinModule('node:os').homedir()}/.cache`
    enable(`${caches}/lora-svd`)
  } catch {
    // a user without a home
  }
}
