// Lets every rename, link, unlink, fsync, mkdir and rmdir of `extract`, `apply` and `factor` fail, one in each run, with several errors; and kills
// the process right before and right after each. Then the same command is given again. Under the final name must stand, at every
// moment, nothing, what was there, or the whole new result; nothing that was done may be lost; no error may be "internal"; and what
// was left behind must be gone in the end.
// Usage: node bench/inject-errors.mjs [--only extract,resume,…]; needs gcc and a Node that loads libc. Exits with 1 on the first failure.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { crash, extraction, layersDone } from './extract-trials.mjs'
import { assert, ENTRY, expectDone, filesOf, isSame, runCommand } from './trial-runs.mjs'

const { values } = parseArgs({ options: { only: { type: 'string' } } })
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-inject-'))
const room = join(folder, 'room')
const out = join(room, 'out')
const library = join(folder, 'inject.so')

/** A file system without hard links answers EPERM; a failing disk EIO; a folder whose permissions were changed EACCES. */
const ERRORS = ['EIO', 'EACCES', 'EPERM']
const DISTURBANCES = [
  ...ERRORS.map((name) => ({ name, env: { INJECT_ERRNO: String(constants.errno[name]) } })),
  ...['before', 'after'].map((how) => ({ name: `killed ${how}`, env: { INJECT_HOW: how } })),
]

/** Two of the fixture's layers. */
const FEW = ['--include', '*layers.0.self_attn.q_proj*', '--include', '*layers.0.self_attn.k_proj*']
const MATRIX = fileURLToPath(new URL('../test/fixtures/digits-llama/base/model.safetensors', import.meta.url))
const factoring = (path, ...more) => [
  ...[
    process.execPath,
    ENTRY,
    'factor',
    MATRIX,
    '-o',
    path,
    '--quiet',
    '--tensor',
    'model.layers.0.self_attn.q_proj.weight',
    '--rank',
    '1',
    ...more,
  ],
]

const BASE = fileURLToPath(new URL('../test/fixtures/digits-llama/base', import.meta.url))
const applying = (path, base, ...more) => [
  ...[process.execPath, ENTRY, 'apply', base, join(folder, 'new'), '-o', path, '--quiet', ...more],
]

const isSameFile = (path, bytes) => existsSync(path) && readFileSync(path).equals(bytes)

/** What is disturbed: `prepare` makes what was there before, `isWhole` and `isOld` tell what stands at `out`. */
async function scenarios() {
  await expectDone(extraction(join(folder, 'new'), ...FEW))
  await expectDone(extraction(join(folder, 'old'), ...FEW, '--no-distribute-scale'))
  while (!(await crash(join(folder, 'crashed'), ...FEW))) {
    for (const path of ['crashed', 'crashed.partial'])
      rmSync(join(folder, path), { recursive: true, force: true })
  }
  const file = `${out}.safetensors`
  await expectDone(factoring(join(folder, 'new.safetensors')))
  await expectDone(factoring(join(folder, 'old.safetensors'), '--dtype', 'f64'))
  const [fresh, old] = ['new', 'old'].map((name) => filesOf(join(folder, name)))
  const [freshFile, oldFile] = ['new', 'old'].map((name) => readFileSync(join(folder, `${name}.safetensors`)))
  const ofFolder = {
    output: out,
    elsewhere: extraction(`${out}-2`, ...FEW),
    isWhole: () => isSame(out, fresh),
    isOld: () => isSame(out, old),
    isKept: () =>
      readdirSync(`${out}.partial`).some(
        (name) => name.startsWith('replaced-') && isSame(join(`${out}.partial`, name), old),
      ),
  }
  const ofFile = {
    output: file,
    elsewhere: factoring(`${out}-2.safetensors`),
    isWhole: () => isSameFile(file, freshFile),
    isOld: () => isSameFile(file, oldFile),
    isKept: () => false,
  }
  const merged = (name) => join(folder, `merged-${name}`)
  for (const [name, ...more] of [['new'], ['old', '--weights', '0.5']]) {
    await expectDone(applying(merged(name), BASE, ...more))
    await expectDone(applying(`${merged(name)}.safetensors`, MATRIX, ...more))
  }
  const [whole, other] = ['new', 'old'].map((name) => filesOf(merged(name)))
  const [wholeFile, otherFile] = ['new', 'old'].map((name) => readFileSync(`${merged(name)}.safetensors`))
  const ofModel = {
    ...ofFolder,
    elsewhere: applying(`${out}-2`, BASE),
    isWhole: () => isSame(out, whole),
    isOld: () => isSame(out, other),
    isKept: () =>
      readdirSync(`${out}.partial`).some(
        (name) => name.startsWith('replaced-') && isSame(join(`${out}.partial`, name), other),
      ),
  }
  const ofModelFile = {
    ...ofFile,
    elsewhere: applying(`${out}-2.safetensors`, MATRIX),
    isWhole: () => isSameFile(file, wholeFile),
    isOld: () => isSameFile(file, otherFile),
  }
  const partial = () => cpSync(join(folder, 'crashed.partial'), `${out}.partial`, { recursive: true })
  return [
    { ...ofFolder, name: 'extract', command: extraction(out, ...FEW), prepare: () => {} },
    { ...ofFolder, name: 'resume', command: extraction(out, ...FEW), prepare: partial },
    {
      ...ofFolder,
      name: 'replace',
      command: extraction(out, ...FEW, '--force'),
      prepare: () => cpSync(join(folder, 'old'), out, { recursive: true }),
      hasOld: true,
    },
    { ...ofModel, name: 'apply', command: applying(out, BASE), prepare: () => {} },
    {
      ...ofModel,
      name: 'apply-replace',
      command: applying(out, BASE, '--force'),
      prepare: () => cpSync(merged('old'), out, { recursive: true }),
      hasOld: true,
    },
    { ...ofModelFile, name: 'apply-file', command: applying(file, MATRIX), prepare: () => {} },
    {
      ...ofModelFile,
      name: 'apply-file-replace',
      command: applying(file, MATRIX, '--force'),
      prepare: () => cpSync(`${merged('old')}.safetensors`, file),
      hasOld: true,
    },
    { ...ofFile, name: 'factor', command: factoring(file), prepare: () => {} },
    {
      ...ofFile,
      name: 'factor-replace',
      command: factoring(file, '--force'),
      prepare: () => cpSync(join(folder, 'old.safetensors'), file),
      hasOld: true,
    },
  ]
}

/** One run with the disturbance, and the same again without. */
async function trial({ command, prepare, output, elsewhere, isWhole, isOld, isKept, hasOld = false }, env) {
  rmSync(room, { recursive: true, force: true })
  mkdirSync(room)
  prepare()
  const before = layersDone(out)
  const { code, signal, stderr } = await runCommand(command, {
    env: { ...process.env, LD_PRELOAD: library, ...env },
  })
  try {
    assert(!/internal error/.test(stderr), 'an internal error')
    if (env.INJECT_HOW === undefined) {
      assert(signal === null && [0, 2, 3].includes(code), `exit ${code ?? signal}`)
      assert(code === 0 || /^lora-svd: [^\n]+\n$/.test(stderr), 'no clear line')
    }
    const isThere = existsSync(output)
    assert(!isThere || isWhole() || (hasOld && isOld()), 'half a result under the final name')
    assert(isThere || !hasOld || isKept(), 'what was to be replaced is lost')
    assert(code !== 0 || isWhole(), 'exit 0 without the result')
    assert(isWhole() || layersDone(out) >= before, 'layers that were done are lost')
  } catch (error) {
    throw new Error(`${error.message}: exit ${code ?? signal}: ${stderr}`)
  }
  const wasWhole = isWhole()
  const again = await runCommand(command)
  const isRefused = again.code === 2 && wasWhole && again.stderr.includes('exists already')
  assert(again.code === 0 || isRefused, `the same command again: exit ${again.code}: ${again.stderr}`)
  assert(isWhole(), 'the same command again: other bytes')
  // what a killed process left beside the output goes when the next result is put there
  if (readdirSync(room).length > 1) {
    await expectDone(elsewhere)
    const left = readdirSync(room)
    assert(left.length === 2, `left behind: ${left.join(' ')}`)
  }
  return code === 0
}

try {
  execFileSync('gcc', [
    '-O1',
    '-shared',
    '-fPIC',
    '-o',
    library,
    fileURLToPath(new URL('inject.c', import.meta.url)),
    '-ldl',
  ])
  const all = await scenarios()
  const only = values.only?.split(',')
  for (const scenario of all.filter(({ name }) => only === undefined || only.includes(name))) {
    const log = join(folder, 'calls')
    rmSync(log, { force: true })
    await trial(scenario, { INJECT_LOG: log })
    const calls = readFileSync(log, 'utf8').trim().split('\n')
    let survived = 0
    for (const { name, env } of DISTURBANCES) {
      for (const [i, call] of calls.entries()) {
        const isDone = await trial(scenario, { ...env, INJECT_AT: String(i + 1) }).catch((error) => {
          throw new Error(
            `${scenario.name}: call ${i + 1} of ${calls.length}, ${call}, ${name}: ${error.message}`,
          )
        })
        if (isDone) survived++
      }
    }
    const counts = [...new Set(calls)].map(
      (name) => `${calls.filter((call) => call === name).length} ${name}`,
    )
    console.log(
      `${scenario.name}: ${calls.length} calls (${counts.join(', ')}), ${DISTURBANCES.length * calls.length} disturbed runs, of which ${survived} ended well all the same: nothing half, nothing lost, nothing left`,
    )
  }
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
