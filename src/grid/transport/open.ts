import type { SlurmTarget } from '../../config/targets.ts';
import type { Progress } from '../../progress.ts';
import type { Ask } from './ssh-auth.ts';
import type { Transport } from './transport.ts';

/** What ways to a target may need of the one who calls. */
export interface OpenOptions {
  readonly progress: Progress;
  /** Asks the person (passphrases, one-time passwords); undefined when there is no terminal. */
  readonly ask?: Ask | undefined;
}

/** The way to the machine where a target's commands are: this one, or another through ssh. Connects when needed. */
export async function openTransport(target: SlurmTarget, options: OpenOptions): Promise<Transport> {
  const path = target.path?.split(':') ?? [];
  if (target.ssh === undefined) {
    const { LocalTransport } = await import('./local.ts');
    return new LocalTransport(path);
  }
  const { parseHost } = await import('./ssh-connect.ts');
  const files = target.sshConfig === undefined ? {} : { files: [target.sshConfig] };
  const request = { ...parseHost(target.ssh), ...files };
  if (target.transport === 'openssh') {
    const { createOpensshTransport } = await import('./openssh.ts');
    return createOpensshTransport(request, { path, terminal: options.ask !== undefined });
  }
  const { createSsh2Transport } = await import('./ssh2.ts');
  return createSsh2Transport(request, {
    path,
    ask: options.ask,
    onIgnored: (words) => {
      options.progress.debug(
        `ssh configuration: ${words.join(', ')} is not followed (transport = openssh would)`,
      );
    },
  });
}
