/** What the rooms use of node:os, as a browser tells it. */

interface Machine {
  readonly hardwareConcurrency?: number
  /** In GiB, rounded to a power of two, and never above 8 (Device Memory API). */
  readonly deviceMemory?: number
}

const machine: Machine = (globalThis as { readonly navigator?: Machine }).navigator ?? {}

/** Workers beyond this cost a tab more memory than they save time. */
const MOST_THREADS = 8

export const availableParallelism = (): number => Math.min(MOST_THREADS, machine.hardwareConcurrency ?? 1)

/** A tab gets a part of the machine, whatever that has: jobs take half of this together. */
const MOST_BYTES = 4 * 2 ** 30

export const totalmem = (): number => Math.min(MOST_BYTES, (machine.deviceMemory ?? 4) * 2 ** 30)

/** Where no file is. */
export const homedir = (): string => '/nobody'
