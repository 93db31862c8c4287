import { readFile, realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'

/**
 * Whether a file system is mounted at this very path, which then can't be renamed; a mount of a folder of the same file system
 * shows nowhere else. Field 5 of proc_pid_mountinfo(5), with octal escapes. False where the system doesn't tell.
 */
export async function isMountPoint(path: string): Promise<boolean> {
  try {
    const real = join(await realpath(dirname(resolve(path))), basename(resolve(path)))
    const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
    return lines.some((line) => unescaped(line.split(' ')[4] ?? '') === real)
  } catch {
    return false
  }
}

const unescaped = (field: string) =>
  field.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8)))
