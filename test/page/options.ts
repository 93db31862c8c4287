import { runInProcess } from '../cli/run.ts'

/** Ten experiments, each with something that the others haven't. */
export const EXPERIMENTS = [
  '',
  '--rng torch --draw 2',
  '--rng torch --draw 1 --dtype f32',
  '--seed 41 --rng torch --dtype f32',
  '--d 64 --k 48 --rank 4 --truncate 3',
  '--d 20 --k 30 --rank 5 --noise 0.1 --seed 7',
  '--d 1 --k 12 --rank 1',
  '--d 33 --k 7 --rank 7 --rtol 0 --atol 1e-15',
  '--d 128 --k 100 --rank 8 --seed 3 --dtype f32',
  '--d 70 --k 256 --rank 12 --noise 0.0001 --seed 12345678901234567890',
] as const

/** What `demo` prints for these options, and the page that it writes. */
export async function demoPage(options: string, path: string) {
  const args = ['demo', ...options.split(' ').filter(Boolean)]
  const { stdout } = await runInProcess([...args, '--json', '--matrices', '--html', path, '--force'])
  return { json: stdout, found: JSON.parse(stdout) }
}
