import { Command } from '@commander-js/extra-typings';
import type { DefineCommand } from '../context.ts';

const HELP = `
Looks only, changes nothing.

Examples:
  $ apppot doctor
  $ apppot doctor --json

Exit codes: 0 guests can be run here, 1 they cannot.`;

const SIGNS = { ok: 'ok  ', slow: 'slow', no: 'NO  ' } as const;

/** `apppot doctor`: what this machine can do for guests and images. */
export const doctorCommand: DefineCommand = (context) =>
  new Command('doctor')
    .description('say what this machine can do for running guests and building images')
    .addHelpText('after', HELP)
    .action(async () => {
      const { examine } = await import('../../machine/doctor.ts');
      const checks = await examine(context.signal);
      const text = checks
        .map(({ name, state, found, remedy }) =>
          [`${SIGNS[state]}  ${name}: ${found}`, ...(remedy === undefined ? [] : [`      ${remedy}`])].join(
            '\n',
          ),
        )
        .join('\n');
      context.display().result(checks, text);
      if (checks.some(({ name, state }) => name === 'runtime' && state === 'no')) context.exitWith(1);
    });
