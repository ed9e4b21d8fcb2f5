import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import ssh2, { type Client, type ConnectConfig, type ServerHostKeyAlgorithm } from 'ssh2';
import { ApppotError, systemCode } from '../../errors.ts';
import { findKnownKeys, fingerprint, judge, keyType, knownName, wantedAlgorithms } from './known-hosts.ts';
import { createLogin, type Ask } from './ssh-auth.ts';
import { readHostSettings, type HostRequest, type HostSettings } from './ssh-config.ts';

export interface ConnectOptions {
  readonly signal: AbortSignal;
  readonly ask?: Ask | undefined;
  /** Called with what of the user's configuration is not followed. */
  readonly onIgnored?: ((words: readonly string[]) => void) | undefined;
}

/** A connection, with those that it goes through; `end` ends them all. */
export interface Connection {
  readonly client: Client;
  end(): void;
}

/**
 * Logs in to a host, through others where the configuration says so (ProxyJump). The key of each is compared with
 * known_hosts; one that is not there is refused.
 *
 * @throws ApppotError `transport` (transient) when the host cannot be reached, `credentials` when it is not known, not
 *   the one that was known, or refused every login
 */
export async function connect(request: HostRequest, options: ConnectOptions): Promise<Connection> {
  return connectThrough(request, options, 0);
}

async function connectThrough(
  request: HostRequest,
  options: ConnectOptions,
  depth: number,
): Promise<Connection> {
  if (depth > 8) throw new ApppotError('config', `ssh: ProxyJump of ${request.host} leads in a circle.`);
  const settings = readHostSettings(request);
  if (settings.ignored.length > 0) options.onIgnored?.(settings.ignored);
  const hops: Connection[] = [];
  const endHops = (): void => {
    for (const hop of hops.reverse()) hop.end();
  };
  try {
    let stream: Duplex | undefined;
    for (const [at, jump] of settings.proxyJump.entries()) {
      const target = { ...parseHost(jump), files: request.files };
      const hop: Connection =
        at === 0
          ? await connectThrough(target, options, depth + 1)
          : await logIn(readHostSettings(target), options, stream);
      hops.push(hop);
      const next = settings.proxyJump[at + 1];
      const goal =
        next === undefined ? settings : readHostSettings({ ...parseHost(next), files: request.files });
      stream = await forward(hop.client, goal, settings);
    }
    const last = await logIn(settings, options, stream);
    return {
      client: last.client,
      end: () => {
        last.end();
        endHops();
      },
    };
  } catch (error) {
    endHops();
    throw error;
  }
}

/** `[user@]host[:port]` or `[user@][address]:port`. */
export function parseHost(text: string): {
  host: string;
  user: string | undefined;
  port: number | undefined;
} {
  const match = /^(?:(.+)@)?(?:\[([^\]]+)\]|([^:@[\]]+))(?::(\d+))?$/.exec(text);
  const host = match?.[2] ?? match?.[3];
  if (host === undefined || host.startsWith('-'))
    throw new ApppotError('config', `"${text}" is no host: it has to be [user@]host[:port].`);
  return { host, user: match?.[1], port: match?.[4] === undefined ? undefined : Number(match[4]) };
}

async function forward(client: Client, goal: HostSettings, last: HostSettings): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    client.forwardOut('127.0.0.1', 0, goal.hostName, goal.port, (error, channel) => {
      if (error === undefined) resolve(channel);
      else
        reject(
          new ApppotError(
            'transport',
            `The way to ${last.hostName} ends before ${goal.hostName}:${goal.port}: ${error.message}.`,
            { cause: error, transient: true },
          ),
        );
    });
  });
}

async function logIn(
  settings: HostSettings,
  options: ConnectOptions,
  stream: Duplex | undefined,
): Promise<Connection> {
  const { hostName, port, user } = settings;
  const name = `${user}@${hostName}${port === 22 ? '' : `:${port}`}`;
  const known = findKnownKeys(
    settings.knownHostsFiles,
    knownName(settings.hostKeyAlias ?? hostName, settings.hostKeyAlias === undefined ? port : 22),
  );
  const login = createLogin(settings, options.ask);
  const client = new ssh2.Client();
  // An error after the end of interest must not end the process.
  client.on('error', () => undefined);
  let stranger: ApppotError | undefined;
  const config: ConnectConfig = {
    host: hostName,
    port,
    username: user,
    readyTimeout: options.ask === undefined ? 20_000 : 120_000,
    keepaliveInterval: 15_000,
    keepaliveCountMax: 4,
    hostVerifier: (key: Buffer) => {
      stranger = judgeHost(settings, known, key);
      return stranger === undefined;
    },
    authHandler: (accepted, _partial, give) => {
      void login.next(accepted as readonly string[] | null).then(
        (method) => {
          (give as (method: unknown) => void)(method ?? false);
        },
        () => {
          (give as (method: unknown) => void)(false);
        },
      );
    },
    algorithms: { serverHostKey: wantedAlgorithms(known) as ServerHostKeyAlgorithm[] },
    ...(stream === undefined ? {} : { sock: stream }),
  };
  try {
    const ready = once(client, 'ready', { signal: options.signal });
    const closed = once(client, 'close').then(() => {
      throw new Error('the connection was closed');
    });
    client.connect(config);
    // Small messages at once: otherwise each command waits 80 ms for acknowledgements.
    client.setNoDelay(true);
    await Promise.race([ready, closed]);
    return { client, end: () => client.end() };
  } catch (error) {
    client.destroy();
    options.signal.throwIfAborted();
    throw stranger ?? explain(name, settings, error, login.tried);
  }
}

function judgeHost(
  settings: HostSettings,
  known: ReturnType<typeof findKnownKeys>,
  key: Buffer,
): ApppotError | undefined {
  const { host, hostName, hostKeyAlias, port } = settings;
  const shown = `${keyType(key)} ${fingerprint(key)}`;
  const verdict = judge(known, key);
  if (verdict.kind === 'known') return undefined;
  if (verdict.kind === 'unknown') {
    const where = `${port === 22 ? '' : `-p ${port} `}${hostName}`;
    const authority = known.find(({ marker }) => marker === 'cert-authority');
    return new ApppotError(
      'credentials',
      `The host ${hostKeyAlias ?? knownName(hostName, port)} is not known here; it shows the key ${shown}.`,
      {
        hint:
          authority !== undefined
            ? `An authority vouches for it (${authority.file}:${authority.line}), which needs "transport = openssh" in the target's settings.`
            : hostKeyAlias !== undefined
              ? `Compare the fingerprint with what the site publishes, then log in once with "ssh ${host}" and answer yes.`
              : `Compare the fingerprint with what the site publishes, then log in once with "ssh ${where}" and answer yes (or: ssh-keyscan ${where} >> ~/.ssh/known_hosts).`,
      },
    );
  }
  const { file, line } = verdict.entry;
  return verdict.kind === 'revoked'
    ? new ApppotError('credentials', `The key ${shown} of ${hostName} is revoked (${file}:${line}).`, {
        hint: 'Somebody else may answer in its place. Ask the site before you go on.',
      })
    : new ApppotError(
        'credentials',
        `The key of ${hostName} changed: it shows ${shown}, and ${file}:${line} has ${fingerprint(verdict.entry.key)}.`,
        {
          hint: `Somebody else may answer in its place. Ask the site; if the change is its own: ssh-keygen -f '${file}' -R '${knownName(hostName, port)}'`,
        },
      );
}

function explain(
  name: string,
  settings: HostSettings,
  cause: unknown,
  tried: readonly string[],
): ApppotError {
  const error = cause as Error & { level?: string };
  if (error.level === 'client-authentication') {
    const proxyCommand = settings.ignored.includes('ProxyCommand');
    return new ApppotError('credentials', `${name} refused the login; tried: ${tried.join(', ')}.`, {
      cause,
      hint: proxyCommand
        ? 'Your ssh configuration has a ProxyCommand, which needs "transport = openssh".'
        : `See whether "ssh ${name.replace(/:(\d+)$/, ' -p $1')} true" works; with Kerberos, one-time passwords or certificates say "transport = openssh" in the target's settings.`,
    });
  }
  const code = systemCode(error);
  const words =
    code === 'ENOTFOUND' || code === 'EAI_AGAIN'
      ? 'there is no host of this name'
      : code === 'ECONNREFUSED'
        ? 'nothing listens there'
        : error.message.replace(/\.$/, '');
  return new ApppotError('transport', `Cannot reach ${name}: ${words}.`, {
    cause,
    transient: code !== 'ENOTFOUND',
    hint: 'Check the name, the port and the network; a host behind another one needs ProxyJump in ~/.ssh/config.',
  });
}
