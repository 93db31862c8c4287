import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as contract from '../../src/engine/wasm/contract.ts'
import { createSharedMemory } from '../../src/engine/wasm/memory.ts'
import { compileKernels, instantiateKernels } from '../../src/engine/wasm/module.ts'
import { emptyTask, writeTask } from '../../src/engine/wasm/pool.ts'

const CONTRACT = 'src/engine/wasm/contract.ts'
const read = (path: string) => readFileSync(path, 'utf8')
const assembly = readdirSync('assembly')
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name, text: read(`assembly/${name}`) }))

/** `name(parameters)` of each function in a text, as name → names of its parameters. */
const signatures = (text: string, pattern: RegExp) =>
  new Map(
    [...text.matchAll(pattern)].map(([, name, parameters]) => [
      name,
      [...parameters.matchAll(/(\w+):/g)].map(([, parameter]) => parameter),
    ]),
  )

describe('what the kernels and their callers agree on', () => {
  it('is a file that both compilers take: it imports nothing', () => {
    expect(read(CONTRACT)).not.toMatch(/^import\b/m)
    expect(assembly.filter(({ text }) => text.includes('engine/wasm/contract')).length).toBeGreaterThan(5)
  })

  it('is written once: no kernel and no caller has a constant of the same name', () => {
    const callers = readdirSync('src/engine/wasm')
      .filter((name) => name !== 'contract.ts')
      .map((name) => ({ name, text: read(`src/engine/wasm/${name}`) }))
    for (const { name, text } of [...assembly, ...callers]) {
      const own = [...text.matchAll(/\b(?:const|enum) (\w+)/g)].map(([, constant]) => constant)
      const again = own.filter((constant) => constant in contract)
      expect({ name, again }).toEqual({ name, again: [] })
    }
  })

  it('has every word of a task read by the kernels under its own name', () => {
    const task = assembly.find(({ name }) => name === 'task.ts')?.text ?? ''
    const read = [
      ...task.matchAll(/get (\w+)\(\): \w+ \{\s+return load<\w+>\([^,]+, TaskField\.(\w+) << 2\)/g),
    ]
    for (const [, getter, field] of read) expect(getter).toBe(field)
    const fields = Object.keys(contract.TaskField).filter((key) => Number.isNaN(Number(key)))
    expect(['next', ...read.map(([, getter]) => getter)].sort()).toEqual([...fields].sort())
    expect(fields).toHaveLength(contract.TASK_WORDS)
  })

  it('has every word of a task written', () => {
    const words = new Uint32Array(contract.TASK_WORDS).fill(7)
    writeTask(words, { ...emptyTask, m: 11, transposeB: true, partials: 4_000_000_000 })
    expect([...words]).not.toContain(7)
    expect(words[contract.TaskField.m]).toBe(11)
    expect(words[contract.TaskField.transposeB]).toBe(1)
    expect(words[contract.TaskField.partials]).toBe(4_000_000_000)
  })

  it('has the same parameters in the kernels, in the built module and in the interface of the callers', () => {
    const inAssembly = new Map(
      assembly.flatMap(({ text }) => [...signatures(text, /^export function (\w+)\(([^)]*)\)/gm)]),
    )
    const [, kernels] = read('src/engine/wasm/module.ts').match(/interface Kernels \{([\s\S]*?)\n\}/) ?? []
    const inCallers = signatures(kernels, /^ {2}(\w+)\(([^)]*)\)/gm)
    const built = instantiateKernels(compileKernels(), createSharedMemory())
    const functions = Object.entries(built).filter(([, value]) => typeof value === 'function')
    expect(functions.map(([name]) => name).sort()).toEqual([...inCallers.keys()].sort())
    for (const [name, parameters] of inCallers) {
      expect({ name, parameters: inAssembly.get(name) }).toEqual({ name, parameters })
      expect({ name, length: functions.find(([key]) => key === name)?.[1].length }).toEqual({
        name,
        length: parameters.length,
      })
    }
  })
})
