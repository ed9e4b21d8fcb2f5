import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientChannel } from 'ssh2';
import { ApppotError } from '../../errors.ts';
import { abortable } from './abortable.ts';
import { Collector } from './parts.ts';
import { afterMark, commandLine, readEnd } from './script.ts';
import { lost, ShellTransport } from './shell-transport.ts';
import type { ExecOptions, ExecResult, Shell } from './shell.ts';
import { connect, type ConnectOptions, type Connection } from './ssh-connect.ts';
import type { HostRequest } from './ssh-config.ts';

/** Sessions at once; sshd's own limit (MaxSessions) is 10. */
const SESSIONS = 6;
/** Milliseconds before the second, third … try to connect. */
const PAUSES = [500, 1000, 2000, 4000];

export interface SshOptions extends Omit<ConnectOptions, 'signal'> {
  /** Folders that come first on PATH there. */
  readonly path?: readonly string[];
}

/** A machine through ssh, spoken by ourselves: nothing has to be installed here. */
export function createSsh2Transport(request: HostRequest, options: SshOptions = {}): ShellTransport {
  return new ShellTransport(new Ssh2Shell(request, options));
}

class Ssh2Shell implements Shell {
  readonly name: string;
  readonly #request: HostRequest;
  readonly #options: SshOptions;
  #connection: Promise<Connection> | undefined;
  /** Ends the attempt to connect, which callers share, when nobody needs it any more. */
  readonly #closing = new AbortController();
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(request: HostRequest, options: SshOptions) {
    this.#request = request;
    this.#options = options;
    this.name = request.user === undefined ? request.host : `${request.user}@${request.host}`;
  }

  async exec(script: string, options: ExecOptions): Promise<ExecResult> {
    if (this.#running >= SESSIONS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running += 1;
    try {
      options.signal.throwIfAborted();
      const channel = await this.#open(commandLine(script, this.#options.path ?? []), options.signal);
      return await this.#converse(channel, options);
    } finally {
      options.stdin?.destroy();
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const connection = await this.#connection?.catch(() => undefined);
    connection?.end();
  }

  async #open(command: string, signal: AbortSignal): Promise<ClientChannel> {
    const { client } = await this.#connected(signal);
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        reject(lost(this.name, `no session (${error.message})`, error));
      };
      // Without this, a connection that is lost at this moment would never answer.
      const gone = (): void => {
        fail(new Error('the connection was lost'));
      };
      client.once('close', gone);
      try {
        client.exec(command, (error, channel) => {
          client.off('close', gone);
          if (error === undefined) resolve(channel);
          else fail(error);
        });
      } catch (error) {
        fail(error as Error);
      }
    });
  }

  async #converse(channel: ClientChannel, options: ExecOptions): Promise<ExecResult> {
    const collected = new Collector();
    const into = options.stdout ?? collected;
    const marked = afterMark();
    channel.pipe(marked).pipe(into);
    const drained = Promise.all([finished(marked), finished(channel.stderr, { writable: false })]);
    drained.catch(() => undefined);
    let stderr = '';
    channel.stderr
      .setEncoding('utf8')
      .on('data', (text: string) => (stderr = (stderr + text).slice(-262_144)));
    // The program need not read its input to the end.
    channel.on('error', () => undefined);
    const stop = new AbortController();
    for (const end of [options.stdin, into])
      end?.on('error', (error: Error) => {
        stop.abort(error);
      });
    if (options.stdin === undefined) channel.end();
    else options.stdin.pipe(channel);
    try {
      const signal = AbortSignal.any([options.signal, stop.signal]);
      await once(channel, 'close', { signal });
      // A connection that was lost may have left no end.
      if (!channel.readableEnded) marked.end();
      await abortable(drained, signal);
    } catch (error) {
      channel.signal('TERM');
      channel.close();
      options.signal.throwIfAborted();
      if (stop.signal.aborted) throw stop.signal.reason;
      throw lost(this.name, (error as Error).message, error);
    }
    const end = readEnd(stderr);
    if (end.code === undefined) throw lost(this.name, endWords(end.stderr));
    return { code: end.code, stdout: collected.bytes(), stderr: end.stderr };
  }

  #connectedOnce = false;

  async #connected(signal: AbortSignal): Promise<Connection> {
    this.#connection ??= this.#connect(this.#closing.signal);
    const connection = this.#connection;
    try {
      return await abortable(connection, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (this.#connection === connection) this.#connection = undefined;
      throw error;
    }
  }

  async #connect(signal: AbortSignal): Promise<Connection> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const connection = await connect(this.#request, { ...this.#options, signal });
        this.#connectedOnce = true;
        connection.client.once('close', () => {
          this.#connection = undefined;
          connection.end();
        });
        return connection;
      } catch (error) {
        const pause = (this.#connectedOnce ? PAUSES : PAUSES.slice(0, 2))[attempt];
        if (pause === undefined || !(error instanceof ApppotError && error.transient)) throw error;
        await sleep(pause * (0.75 + Math.random() / 2), undefined, { signal });
      }
    }
  }
}

function endWords(stderr: string): string {
  const words = stderr.trim().split('\n').slice(-3).join('\n');
  return `the connection was lost before the command ended${words === '' ? '' : ` (${words})`}`;
}
