import { fstatSync, writeFileSync } from 'node:fs'

/** What a text is written to. */
interface Sink {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
  write(text: string, done?: (error?: Error | null) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
}

/**
 * A stream of the process, of which all is written that is given, or an error told. Node's own for a file writes by one call and doesn't
 * look at how much of it went there (lib/internal/fs/sync_write_stream.js, Node 20 to 24): on a disk that fills up the end would be missing,
 * and nobody would know.
 */
export function wholeWrites(stream: NodeJS.WriteStream & { readonly fd: number }): Sink {
  if (!isFile(stream.fd)) return stream
  return {
    write(text, done) {
      try {
        writeFileSync(stream.fd, text)
      } catch (error) {
        done?.(error as Error)
        return
      }
      done?.()
    },
    on: (event, listener) => stream.on(event, listener),
  }
}

function isFile(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isFile()
  } catch {
    return false
  }
}
