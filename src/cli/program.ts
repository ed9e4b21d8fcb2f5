import { Command, CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { packageFile } from '../config/paths.ts';
import { ApppotError } from '../errors.ts';
import { COMMANDS } from './commands/index.ts';
import { createContext } from './context.ts';

const EXIT_CODES = `
Exit codes:
  0    done
  1    failed; one sentence and a hint say why
  2    the command line makes no sense
  130  interrupted (128+N for signal N)
"apppot run" and "apppot shell" end with the job's own code instead, see "apppot run --help".`;

/**
 * The whole program: parses, runs one command, prints what went wrong.
 *
 * @param argv the words after the program's name
 * @returns the exit code
 */
export async function main(argv: readonly string[]): Promise<number> {
  const context = createContext();
  const program = new Command('apppot')
    .description('Own a whole Linux on any cluster, without privileges.')
    .version(packageVersion())
    .addHelpText('after', EXIT_CODES)
    // "apppot run prog --json" must leave --json to prog.
    .enablePositionalOptions()
    .hook('preAction', (_program, command) => {
      context.command = command;
    });
  setUp(program);
  for (const define of COMMANDS) {
    const command = define(context);
    setUp(command);
    program.addCommand(command);
  }
  if (argv[0] === 'complete') (await import('./completion.ts')).addCompletion(program);
  try {
    checkBytes(argv);
    await program.parseAsync([...argv], { from: 'user' });
    return context.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return commanderExit(error, argv);
    context.display().error(error);
    return error instanceof ApppotError ? error.exitCode : 70;
  } finally {
    context.releaseSignals();
  }
}

/**
 * Node.js puts U+FFFD in the place of bytes that are no UTF-8: a job would silently get other arguments, and other
 * files.
 */
function checkBytes(argv: readonly string[]): void {
  const word = argv.find((text) => text.includes('\uFFFD'));
  if (word === undefined || isUtf8(readFileSync('/proc/self/cmdline'))) return;
  throw new ApppotError('usage', `The argument ${JSON.stringify(word)} is not UTF-8.`, {
    hint: 'Give it another name, or put it into a file or a script; apppot-start alone takes any bytes.',
    exitCode: usageCode(argv),
  });
}

/** What all commands share: the general options, errors that are thrown, and where they are printed. */
function setUp(command: CommandUnknownOpts): void {
  command
    .option('--json', 'print the result as JSON')
    .option('-q, --quiet', 'say nothing but results and errors')
    .option('-v, --verbose', 'say what is being done, in detail')
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => {
        write(text.replace(/^error: /, 'apppot: '));
      },
    });
  for (const child of command.commands) setUp(child);
}

/** Usage errors end with 2; with 125 where 2 could be the job's own code. Help and version are no errors. */
function commanderExit(error: CommanderError, argv: readonly string[]): number {
  return error.exitCode === 0 ? 0 : usageCode(argv);
}

function usageCode(argv: readonly string[]): number {
  const command = argv.find((word) => !word.startsWith('-'));
  return command === 'run' || command === 'shell' || command === 'exec' ? 125 : 2;
}

/** The version in package.json: the only place where it is written. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string };
  return version;
}
