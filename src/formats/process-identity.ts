import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { errnoOf } from './os-error.ts'

/**
 * A process as others can recognise it who share a folder with it and perhaps nothing else: neither the machine nor, on the
 * same machine, the namespace in which process ids are counted.
 */
export interface ProcessIdentity {
  readonly host: string
  /** Of this start of the machine; '' where the system has none. */
  readonly boot: string
  /** The namespace of process ids, as of a container; '' where the system has none. */
  readonly pidNamespace: string
  readonly pid: number
  /** When the process began, in the kernel's ticks since the machine did; '' where it can't be told. */
  readonly started: string
}

/** 'unknown': from here it can't be seen. */
export type Liveness = 'alive' | 'gone' | 'unknown'

let known: ProcessIdentity | undefined

export function thisProcess(): ProcessIdentity {
  known ??= {
    host: hostname(),
    boot: textOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
    pidNamespace: textOf(() => readlinkSync('/proc/self/ns/pid')),
    pid: process.pid,
    started: statOf(process.pid)?.started ?? '',
  }
  return known
}

/** Whether process ids mean the same to that process as to this one. */
export function isSamePlace(other: Omit<ProcessIdentity, 'pid' | 'started'>): boolean {
  const { host, boot, pidNamespace } = thisProcess()
  return other.host === host && other.boot === boot && other.pidNamespace === pidNamespace
}

/** Whether a process still runs, as far as it can be seen from here. */
export function livenessOf(other: ProcessIdentity): Liveness {
  if (!isSamePlace(other)) return 'unknown'
  if (!(other.pid > 0)) return 'gone'
  try {
    // signal 0 only asks
    process.kill(other.pid, 0)
  } catch (error) {
    // EPERM: another user's, but there
    if (errnoOf(error) !== 'EPERM') return 'gone'
  }
  const found = statOf(other.pid)
  if (found === undefined || other.started === '') return 'unknown'
  return found.hasEnded || found.started !== other.started ? 'gone' : 'alive'
}

/**
 * What /proc says of a process: field 3, its state, and field 22, when it started (proc_pid_stat(5)). The name in field 2 may
 * hold anything, parentheses too. Undefined where /proc is missing, hides the process, or counts another namespace's ids.
 */
function statOf(pid: number): { hasEnded: boolean; started: string } | undefined {
  if (textOf(() => readlinkSync('/proc/self')) !== String(process.pid)) return undefined
  const text = textOf(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  if (fields.length < 20) return undefined
  // a zombie was killed, and only its parent hasn't asked after it yet
  return { hasEnded: /^[ZX]/.test(fields[0]), started: fields[19] }
}

function textOf(read: () => string): string {
  try {
    return read().trim()
  } catch {
    return ''
  }
}
