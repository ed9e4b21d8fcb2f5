import type { DefineCommand } from '../context.ts';
import { buildImageCommand } from './build-image.ts';
import { cacheCommand } from './cache.ts';
import { cleanCommand } from './clean.ts';
import { configCommand } from './config.ts';
import { doctorCommand } from './doctor.ts';
import { execCommand, psCommand, stopCommand } from './guests.ts';
import { jobsCommand } from './jobs.ts';
import { resizeCommand } from './resize.ts';
import { runCommand } from './run.ts';
import { runtimeCommand } from './runtime.ts';
import { sessionsCommand } from './sessions.ts';
import { shellCommand } from './shell.ts';
import { snapCommand } from './snap.ts';
import { submitCommand } from './submit.ts';
import { targetsCommand } from './targets.ts';

/** All commands, in the order of the help text. */
export const COMMANDS: readonly DefineCommand[] = [
  buildImageCommand,
  resizeCommand,
  runtimeCommand,
  runCommand,
  shellCommand,
  psCommand,
  execCommand,
  stopCommand,
  sessionsCommand,
  snapCommand,
  submitCommand,
  jobsCommand,
  targetsCommand,
  cleanCommand,
  cacheCommand,
  configCommand,
  doctorCommand,
];
