import { Command, CommanderError } from 'commander'
import { addDemo } from './commands/demo.ts'
import { addFactor } from './commands/factor.ts'
import { helpTopics } from './commands/help-topics.ts'
import { common } from './commands/options.ts'
import type { Run } from './commands/run.ts'
import { ExitCode } from './errors.ts'
import { reportError } from './report/error.ts'
import { processTerminal, type Terminal } from './terminal/terminal.ts'
import { version } from './version.ts'

const INTRODUCTION = `See how low the rank of a weight matrix really is, and turn it into LoRA factors.`

const TOPICS = `
Help topics: lora-svd help exit-codes · lora-svd help environment

Start with: lora-svd demo --d 10 --k 10 --rank 2`

/** Runs the command line and sets the exit code; output is left to drain rather than cut off by process.exit. */
export async function main(argv: readonly string[]): Promise<void> {
  const terminal = processTerminal(process, colourFlag(argv))
  const wish = { json: argv.includes('--json'), debug: argv.includes('--debug') }
  const fail = async (error: unknown) => {
    process.exitCode = await reportError(error, terminal, wish)
  }
  const run: Run = async (work) => {
    try {
      process.exitCode = await work(terminal)
    } catch (error) {
      await fail(error)
    }
  }
  try {
    await buildProgram(terminal, run).parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) return fail(error)
    if (error.exitCode !== ExitCode.ok) await fail(error)
  }
}

/** The commands, their options and help. Output settings come first, as commander copies them into each command. */
export function buildProgram(terminal: Terminal, run: Run): Command {
  const program = new Command('lora-svd')
    .description(INTRODUCTION)
    .version(version, '-V, --version')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      // Errors of the command line are reported by `main`, on one line like all others.
      writeErr: () => {},
      getOutHelpWidth: () => terminal.columns,
      getOutHasColors: () => terminal.paint.level > 0,
    })
    .configureHelp({ styleTitle: (text) => terminal.paint.bold(text), styleCommandText: (text) => terminal.paint.cyan(text) })
    .addHelpText('after', TOPICS)
    .addHelpCommand(false)
  addDemo(program, run)
  addFactor(program, run)
  for (const command of program.commands) addCommonOptions(command)
  addHelp(program, run)
  program.action(() => program.error(`no command given\n${program.helpInformation()}`, { code: 'lora-svd.bare' }))
  return program
}
