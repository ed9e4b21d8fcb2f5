import { Command } from '@commander-js/extra-typings';
import { table } from '../table.ts';
import type { DefineCommand } from '../context.ts';

/** `apppot ps`: the guests of this user on this machine. */
export const psCommand: DefineCommand = (context) =>
  new Command('ps')
    .description('list the running guests')
    .addHelpText('after', '\nExamples:\n  $ apppot ps\n  $ apppot ps --json')
    .action(async () => {
      const { listGuests } = await import('../../machine/guests.ts');
      const guests = await listGuests();
      const rows = guests.map(({ id, pid, started, image, program, jobFolder }) => [
        id,
        String(pid),
        new Date(started * 1000).toISOString().slice(0, 19),
        image,
        jobFolder,
        program.join(' ').slice(0, 40),
      ]);
      context
        .display()
        .result(
          guests,
          guests.length === 0 ? '' : table(['ID', 'PID', 'STARTED', 'IMAGE', 'FOLDER', 'PROGRAM'], rows),
        );
    });

const EXEC_HELP = `
The program starts beside the guest's job, as the same user, with streams, terminal and
exit code of its own. It ends when the job ends.

Examples:
  $ apppot exec 4711 -- ps ax
  $ apppot exec 4711 -- bash

Exit codes: the program's own; 125 when there is no such guest.`;

/** `apppot exec`: a look into a running guest. */
export const execCommand: DefineCommand = (context) =>
  new Command('exec')
    .description('run a further program in a running guest')
    .argument('<id>', 'the guest, as "apppot ps" lists it')
    .argument('<program...>', 'the program and its arguments')
    .passThroughOptions()
    .addHelpText('after', EXEC_HELP)
    .action(async (id, program) => {
      const { lookInto } = await import('../../machine/look.ts');
      const words = program[0] === '--' ? program.slice(1) : program;
      context.releaseSignals();
      context.exitWith(await lookInto(id, ['--', ...words]));
    });

/** `apppot stop`: asks a guest to end. */
export const stopCommand: DefineCommand = (context) =>
  new Command('stop')
    .description('end a running guest: SIGTERM to its job, a grace time, then the end')
    .argument('<id...>', 'the guests, as "apppot ps" lists them')
    .addHelpText('after', '\nExamples:\n  $ apppot stop 4711')
    .action(async (ids) => {
      const { lookInto } = await import('../../machine/look.ts');
      for (const id of ids) await lookInto(id, ['--ask', 'stop']);
      context.display().result({ stopped: ids }, '');
    });
