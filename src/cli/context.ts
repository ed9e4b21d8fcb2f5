import { setMaxListeners } from 'node:events';
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { Display } from './display.ts';
import { ApppotError } from '../errors.ts';

/** What every command gets. */
export interface CommandContext {
  /** The printer, set up from --json, --quiet and --verbose. Valid inside an action. */
  display(): Display;
  /** Aborts on SIGINT, SIGTERM and SIGHUP; long work passes it on and cleans up. */
  readonly signal: AbortSignal;
  /** Sets the exit code of a command that ended as it should but not with 0 (the job's own code, say). */
  exitWith(code: number): void;
  /** Stops listening to signals: a command that passes them on to another program does that itself. */
  releaseSignals(): void;
}

/** The context of one run of the program, and what {@link main} needs of it. */
export interface OwnedContext extends CommandContext {
  /** The command whose action runs: its options decide how the display prints. */
  command: CommandUnknownOpts | undefined;
  exitCode: number;
}

/** A context whose signal follows this process' signals until `dispose` is called. */
export function createContext(): OwnedContext {
  const abort = new AbortController();
  // Every request and program of a command listens to it, many at a time.
  setMaxListeners(0, abort.signal);
  const onSignal = (name: NodeJS.Signals, number: number): void => {
    abort.abort(new ApppotError('interrupted', `Interrupted by ${name}.`, { exitCode: 128 + number }));
  };
  const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const name of signals) process.on(name, onSignal);
  const context: OwnedContext = {
    command: undefined,
    exitCode: 0,
    display: () => {
      const options = (context.command?.optsWithGlobals() ?? {}) as Record<string, unknown>;
      const isOn = (name: string): boolean => options[name] === true;
      return new Display({ json: isOn('json'), quiet: isOn('quiet'), verbose: isOn('verbose') });
    },
    signal: abort.signal,
    exitWith: (code) => (context.exitCode = code),
    releaseSignals: () => {
      for (const name of signals) process.off(name, onSignal);
    },
  };
  return context;
}

/** Makes one command. Must be cheap: libraries are imported inside the action. */
export type DefineCommand = (context: CommandContext) => CommandUnknownOpts;
