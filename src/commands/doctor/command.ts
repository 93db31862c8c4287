import type { Command } from 'commander'
import type { Run } from '../flags.ts'
import type { DoctorFlags } from './doctor.ts'

const EXAMPLES = `
Examples:
  lora-svd doctor
  LORA_SVD_LAPACK=/opt/openblas/lib/libopenblas.so lora-svd doctor
  lora-svd doctor --json | jq '.engines[] | select(.available) | .gflops'

Exit codes: 0 every engine that is here is right · 1 one fails its self-test`

/** `doctor`: which engines work on this machine, and how fast. */
export function addDoctor(program: Command, run: Run): void {
  program
    .command('doctor')
    .summary('which engines work on this machine, and how fast')
    .description(
      'Looks for the engines that compute: the embedded one, and the LAPACK of the system. Each decomposes a matrix ' +
        'whose singular values are known, and is timed on a matrix product.',
    )
    .addHelpText('after', EXAMPLES)
    .action((flags: DoctorFlags) =>
      run(async (terminal) => {
        const { printDoctor } = await import('./doctor.ts')
        return printDoctor(flags, terminal)
      }),
    )
}
