import type { JobStream, StreamOptions } from '../backend.ts';

/**
 * The file of a job folder that holds an output.
 *
 * @param folder the job folder
 * @param log what the batch system's own output went to
 */
export function streamFile(folder: string, log: string, stream: JobStream, options: StreamOptions): string {
  switch (stream) {
    case 'stdout':
      return `${folder}/${options.stdout}`;
    case 'stderr':
      return `${folder}/${options.stderr}`;
    case 'console':
      return `${folder}/.apppot/task/console.log`;
    case 'target':
      return log;
  }
}
