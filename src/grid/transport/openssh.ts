import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { ApppotError } from '../../errors.ts';
import { runAttached } from '../../process/attached.ts';
import { runPiped } from '../../process/pipe.ts';
import { run } from '../../process/run.ts';
import { abortable } from './abortable.ts';
import { Collector } from './parts.ts';
import { afterMark, commandLine, readEnd } from './script.ts';
import { lost, ShellTransport } from './shell-transport.ts';
import type { ExecOptions, ExecResult, Shell } from './shell.ts';
import type { HostRequest } from './ssh-config.ts';

export interface OpensshOptions {
  /** Folders that come first on PATH there. */
  readonly path?: readonly string[];
  /** Whether ssh may ask on this terminal (passwords, one-time passwords, host keys). */
  readonly terminal?: boolean;
}

/**
 * A machine through the system's `ssh`, with whatever the user's ssh can: Kerberos, one-time passwords, certificates,
 * proxy commands. One connection serves all calls (ControlMaster); its socket lies in a private folder.
 */
export function createOpensshTransport(request: HostRequest, options: OpensshOptions = {}): ShellTransport {
  return new ShellTransport(new OpensshShell(request, options));
}

class OpensshShell implements Shell {
  readonly name: string;
  readonly #request: HostRequest;
  readonly #options: OpensshOptions;
  #master: Promise<string> | undefined;

  constructor(request: HostRequest, options: OpensshOptions) {
    this.#request = request;
    this.#options = options;
    this.name = request.user === undefined ? request.host : `${request.user}@${request.host}`;
  }

  async exec(script: string, options: ExecOptions): Promise<ExecResult> {
    this.#master ??= this.#start(options.signal);
    const master = this.#master;
    const folder = await master.catch((error: unknown) => {
      if (this.#master === master) this.#master = undefined;
      throw error;
    });
    const collected = new Collector();
    const marked = afterMark();
    const into = options.stdout ?? collected;
    const stop = new AbortController();
    into.on('error', (error) => {
      stop.abort(error);
    });
    const drained = finished(marked);
    drained.catch(() => undefined);
    marked.pipe(into);
    const signal = AbortSignal.any([options.signal, stop.signal]);
    const line = commandLine(script, this.#options.path ?? []);
    const { stderr: words } = await runPiped('ssh', [...this.#arguments(folder), line], {
      signal,
      stdin: options.stdin,
      stdout: marked,
      env: userEnvironment(),
    });
    await abortable(drained, signal);
    const { code, stderr } = readEnd(words);
    if (code === undefined) throw explain(this.name, stderr);
    return { code, stdout: collected.bytes(), stderr };
  }

  async close(): Promise<void> {
    const folder = await this.#master?.catch(() => undefined);
    this.#master = undefined;
    if (folder === undefined) return;
    await run('ssh', ['-O', 'exit', ...this.#arguments(folder)], {
      okCodes: 'any',
      env: userEnvironment(),
    }).catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  }

  /** Opens the connection that all calls share: on the terminal when there is one, for ssh may have to ask. */
  async #start(signal: AbortSignal): Promise<string> {
    // Short: the path of a socket has room for 107 bytes, and ssh adds 17 while it makes one.
    const folder = await mkdtemp(join(tmpdir().length > 40 ? '/tmp' : tmpdir(), 'apppot-ssh-'));
    if (this.#options.terminal !== true) return folder;
    signal.throwIfAborted();
    const code = await runAttached('ssh', ['-f', '-N', ...this.#arguments(folder)], {
      env: { ...process.env, ...userEnvironment() },
    });
    if (code === 0) return folder;
    await rm(folder, { recursive: true, force: true });
    throw new ApppotError('credentials', `ssh cannot log in to ${this.name}; it says why above.`, {
      hint: `See whether "ssh ${this.name} true" works.`,
    });
  }

  #arguments(folder: string): string[] {
    const { host, user, port, files } = this.#request;
    const options = [
      'ControlMaster=auto',
      `ControlPath=${folder.replaceAll('%', '%%')}/%C`,
      'ControlPersist=120',
      // A host key that is not known is asked about, or refused; whatever the configuration says.
      `StrictHostKeyChecking=${this.#options.terminal === true ? 'ask' : 'yes'}`,
      `BatchMode=${this.#options.terminal === true ? 'no' : 'yes'}`,
      'ServerAliveInterval=15',
      'ServerAliveCountMax=4',
      'ConnectTimeout=20',
      'ClearAllForwardings=yes',
      'ForwardAgent=no',
      'RequestTTY=no',
      'EscapeChar=none',
      'LogLevel=ERROR',
    ];
    return [
      ...(files?.[0] === undefined ? [] : ['-F', files[0]]),
      ...options.flatMap((option) => ['-o', option]),
      ...(user === undefined ? [] : ['-l', user]),
      ...(port === undefined ? [] : ['-p', String(port)]),
      '--',
      host,
    ];
  }
}

/** What ssh needs of the user's environment: the agent, Kerberos tickets, and how to ask without a terminal. */
function userEnvironment(): Record<string, string | undefined> {
  const names = ['SSH_AUTH_SOCK', 'KRB5CCNAME', 'SSH_ASKPASS', 'SSH_ASKPASS_REQUIRE', 'DISPLAY', 'TERM'];
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

/** ssh's own words, sorted: who we are or they are, or the way there. */
function explain(name: string, stderr: string): ApppotError {
  const words = stderr.trim().split('\n').slice(-12).join('\n');
  if (/Host key verification failed|IDENTIFICATION HAS CHANGED|No \S+ host key is known/i.test(words)) {
    const revoked = /REVOKED/i.test(words);
    const changed = revoked || /HAS CHANGED/i.test(words);
    const shown = /SHA256:[\w+/=]+/.exec(words)?.[0];
    const known = /^Offending \S+ key in (.*)$/m.exec(words)?.[1];
    return new ApppotError(
      'credentials',
      revoked
        ? `The key that ${name} shows is revoked in known_hosts.`
        : changed
          ? `The key of ${name} changed: it shows ${shown ?? 'another one'}, and ${known ?? 'known_hosts'} has another.`
          : `The host ${name} is not known here: ${words.replace(/\s+/g, ' ')}`,
      {
        hint: changed
          ? 'Somebody else may answer in its place. Ask the site before you go on.'
          : `Log in once with "ssh ${name}", compare the fingerprint with what the site publishes, and answer yes.`,
      },
    );
  }
  if (/Permission denied|Too many authentication failures|No more authentication methods/i.test(words))
    return new ApppotError('credentials', `${name} refused the login:\n${words}`, {
      hint: `See whether "ssh ${name} true" works; questions are asked on a terminal only.`,
    });
  if (/Could not resolve hostname|Bad configuration option|bad configuration/i.test(words))
    return new ApppotError('transport', `Cannot reach ${name}: ${words}`, {
      hint: 'Check the name and ~/.ssh/config.',
    });
  return lost(name, words === '' ? 'the connection was lost before the command ended' : words);
}
