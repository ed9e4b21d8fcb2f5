/** From a target's name to what works with it. */
import { homedir } from 'node:os';
import { stateFolder } from '../config/paths.ts';
import type { Target } from '../config/targets.ts';
import { ApppotError } from '../errors.ts';
import type { Backend, CheckLine } from './backend.ts';
import { checkSite } from './check.ts';
import { openTransport, type OpenOptions } from './transport/open.ts';
import type { Transport } from './transport/transport.ts';

/**
 * The backend of a target. Only what that kind needs is loaded, and nothing is asked of it yet.
 *
 * @param transport to the cluster, if there is one already; the backend closes it
 * @throws ApppotError `config` for settings that make no sense together
 */
export async function openBackend(
  target: Target,
  options: OpenOptions,
  transport?: Transport,
): Promise<Backend> {
  switch (target.type) {
    case 'local': {
      const { LocalBackend } = await import('./local/backend.ts');
      return new LocalBackend({
        name: target.name,
        folder:
          target.folder?.replace(/^site:/, '').replace(/^~(?=\/)/, homedir()) ??
          stateFolder('sandboxes', target.name),
        parallel: target.parallel,
        allowLoginNode: target.loginNode === 'allow',
      });
    }
    case 'slurm': {
      const { SlurmBackend } = await import('./slurm/backend.ts');
      return new SlurmBackend(
        {
          name: target.name,
          folder: target.folder?.replace(/^site:/, ''),
          inPlace: target.ssh === undefined,
          partition: target.partition,
          account: target.account,
          options: target.options,
          parallel: target.parallel,
          memoryFactor: target.memoryFactor,
          memoryOverhead: target.memoryOverhead,
        },
        transport ?? (await openTransport(target, options)),
      );
    }
    case 'arc': {
      const { ArcBackend } = await import('./arc/backend.ts');
      return new ArcBackend({ ...target, endpoint: target.endpoint ?? '' }, { ask: options.ask });
    }
  }
}

/** Tries a target for real: the way there, then what its backend knows. */
export async function checkTarget(
  target: Target,
  options: OpenOptions,
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = [];
  let transport: Transport | undefined;
  let backend: Backend | undefined;
  try {
    if (target.type === 'slurm') {
      transport = await openTransport(target, options);
      lines.push(...(await checkSite(target, transport, signal)));
      if (lines.some(({ ok }) => !ok)) return lines;
    }
    // Over the same connection: a one-time code is good for one.
    backend = await openBackend(target, options, transport);
    return [...lines, ...(await backend.check({ signal }))];
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof ApppotError)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    return [...lines, { title: target.type, ok: false, detail: error.message, ...hint }];
  } finally {
    await (backend ?? transport)?.close();
  }
}
