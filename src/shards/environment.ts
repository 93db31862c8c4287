import { badUsage } from '../errors.ts'
import { assertCount, isShard, type Shard } from './shard.ts'

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Which shard a scheduler's variables say that this process is. Slurm (sbatch(1), "Job arrays"): SLURM_ARRAY_TASK_ID, and _COUNT, _MIN and
 * _STEP; Kubernetes (kubernetes.io, "Indexed Job"): JOB_COMPLETION_INDEX, from 0 on, which says nothing of how many there are: the manifest
 * gives JOB_COMPLETIONS. `shards` says how many, whatever they say; Slurm's ids are then counted from 1, so that one of them can be given
 * alone. Throws `bad-usage` where they don't say.
 */
export function shardOfEnvironment(env: Environment, shards: number | undefined): Shard {
  if (env.SLURM_ARRAY_TASK_ID !== undefined) return ofSlurm(env, shards)
  if (env.JOB_COMPLETION_INDEX !== undefined) return ofKubernetes(env, shards)
  throw badUsage(
    '--shard auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set: this is no task of an array; give --shard 1/4',
  )
}

function ofSlurm(env: Environment, shards: number | undefined): Shard {
  const id = countOf(env, 'SLURM_ARRAY_TASK_ID')
  if (shards !== undefined) {
    assertCount(shards)
    if (id >= 1 && id <= shards) return { index: id, of: shards }
    throw badUsage(
      `--shard auto --shards ${shards}: SLURM_ARRAY_TASK_ID is ${id}: give sbatch --array=1-${shards}, or parts of that`,
    )
  }
  if (env.SLURM_ARRAY_TASK_COUNT === undefined) {
    throw badUsage(
      "--shard auto: SLURM_ARRAY_TASK_ID doesn't say how many there are, and SLURM_ARRAY_TASK_COUNT is not set: give --shards N",
    )
  }
  const of = countOf(env, 'SLURM_ARRAY_TASK_COUNT')
  assertCount(of)
  const least = env.SLURM_ARRAY_TASK_MIN === undefined ? 1 : countOf(env, 'SLURM_ARRAY_TASK_MIN')
  const step = env.SLURM_ARRAY_TASK_STEP === undefined ? 1 : countOf(env, 'SLURM_ARRAY_TASK_STEP')
  const shard = { index: (id - least) / step + 1, of }
  if (isShard(shard)) return shard
  throw badUsage(
    `--shard auto: SLURM_ARRAY_TASK_ID ${id} is not one of ${of} that follow each other from ${least} on; give sbatch --array=1-N and --shards N`,
  )
}

function ofKubernetes(env: Environment, shards: number | undefined): Shard {
  const index = countOf(env, 'JOB_COMPLETION_INDEX') + 1
  if (shards === undefined && env.JOB_COMPLETIONS === undefined) {
    throw badUsage(
      "--shard auto: JOB_COMPLETION_INDEX doesn't say how many there are: give --shards N, or set JOB_COMPLETIONS, as completions in the manifest",
    )
  }
  const of = shards ?? countOf(env, 'JOB_COMPLETIONS')
  if (env.JOB_COMPLETIONS !== undefined && countOf(env, 'JOB_COMPLETIONS') !== of) {
    throw badUsage(
      `--shard auto --shards ${of}: JOB_COMPLETIONS is ${env.JOB_COMPLETIONS}, so that the job would not do all of them; give the same number, or leave --shards out`,
    )
  }
  assertCount(of)
  if (index <= of) return { index, of }
  throw badUsage(`--shard auto: JOB_COMPLETION_INDEX is ${index - 1}, and there are ${of} shards, from 0 on`)
}

function countOf(env: Environment, name: string): number {
  const text = env[name] ?? ''
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  throw badUsage(`--shard auto: ${name} is '${text}', which is no number; give --shard 1/4`)
}
