/** Who we are to a host: the order of what is tried, and the words when nothing was accepted. */
import { readFileSync } from 'node:fs';
import ssh2, { type AnyAuthMethod, type ParsedKey } from 'ssh2';
import { systemCode } from '../../errors.ts';
import type { HostSettings } from './ssh-config.ts';

/** Asks the person; undefined when there is none to ask. */
export type Ask = (question: string, options: { readonly echo: boolean }) => Promise<string>;

/** What is tried in turn, and what was said about it. */
export interface Login {
  /** The next thing to try among what the host accepts, or undefined at the end. */
  next(accepted: readonly string[] | null): Promise<AnyAuthMethod | undefined>;
  /** For people: what was tried, and why a key was not. */
  readonly tried: readonly string[];
}

type Attempt = () => Promise<AnyAuthMethod | undefined>;

/**
 * Agent, key files, keyboard-interactive and password, in ssh's own order; questions are asked on a terminal only.
 */
export function createLogin(settings: HostSettings, ask: Ask | undefined): Login {
  const { user: username, hostName } = settings;
  const tried: string[] = [];
  const keys = settings.identityFiles.map((file) => ({ file, public: publicKey(file) }));
  const attempts: [string, Attempt][] = [['none', () => Promise.resolve({ type: 'none', username })]];
  if (settings.agent !== undefined) {
    const agent = settings.identitiesOnly
      ? new OwnKeysAgent(
          settings.agent,
          keys.map((key) => key.public),
        )
      : new ssh2.OpenSSHAgent(settings.agent);
    attempts.push([
      'publickey',
      () => {
        tried.push('the agent');
        return Promise.resolve({ type: 'agent', username, agent });
      },
    ]);
  }
  for (const { file } of keys) {
    attempts.push([
      'publickey',
      async () => {
        const key = await loadKey(file, ask, tried);
        return key === undefined ? undefined : { type: 'publickey', username, key };
      },
    ]);
  }
  if (ask !== undefined) {
    attempts.push([
      'keyboard-interactive',
      () => {
        tried.push('keyboard-interactive');
        return Promise.resolve({
          type: 'keyboard-interactive',
          username,
          prompt: (_name, instructions, _language, prompts, finish) => {
            void answer(ask, instructions, prompts).then(finish, () => {
              finish([]);
            });
          },
        });
      },
    ]);
    attempts.push([
      'password',
      async () => {
        tried.push('a password');
        const password = await ask(`Password of ${username}@${hostName}: `, { echo: false });
        return { type: 'password', username, password };
      },
    ]);
  } else tried.push('no questions, as there is no terminal');
  return {
    tried,
    async next(accepted) {
      for (let attempt = attempts.shift(); attempt !== undefined; attempt = attempts.shift()) {
        const [kind, make] = attempt;
        if (kind !== 'none' && accepted !== null && !accepted.includes(kind)) continue;
        const method = await make();
        if (method !== undefined) return method;
      }
      return undefined;
    },
  };
}

async function answer(
  ask: Ask,
  instructions: string,
  prompts: readonly { readonly prompt: string; readonly echo?: boolean }[],
): Promise<string[]> {
  const answers: string[] = [];
  for (const { prompt, echo } of prompts) {
    const lead = answers.length === 0 && instructions !== '' ? `${instructions}\n` : '';
    answers.push(await ask(printable(lead + prompt), { echo: echo === true }));
  }
  return answers;
}

/** A server's words on our terminal: no escape sequences. */
function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, '?');
}

async function loadKey(file: string, ask: Ask | undefined, tried: string[]): Promise<ParsedKey | undefined> {
  let text: Buffer;
  try {
    text = readFileSync(file);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') tried.push(`${file} (cannot be read)`);
    return undefined;
  }
  let parsed = ssh2.utils.parseKey(text);
  if (parsed instanceof Error && /passphrase/i.test(parsed.message)) {
    if (ask === undefined) {
      tried.push(`${file} (has a passphrase: add it to ssh-agent with ssh-add)`);
      return undefined;
    }
    parsed = ssh2.utils.parseKey(text, await ask(`Passphrase of ${file}: `, { echo: false }));
  }
  const key = first(parsed);
  if (key instanceof Error) {
    tried.push(`${file} (${key.message})`);
    return undefined;
  }
  tried.push(file);
  return key;
}

function publicKey(file: string): Buffer | undefined {
  for (const name of [`${file}.pub`, file]) {
    try {
      const key = first(ssh2.utils.parseKey(readFileSync(name)));
      if (!(key instanceof Error)) return key.getPublicSSH();
    } catch {
      // not there, or not ours to read
    }
  }
  return undefined;
}

/** A file may hold several keys; ssh takes the first one. */
function first(parsed: ParsedKey | Error): ParsedKey | Error {
  return [parsed].flat()[0] ?? new Error('holds no key');
}

/** The agent, with those of its keys only that the configuration names (IdentitiesOnly). */
class OwnKeysAgent extends ssh2.OpenSSHAgent {
  readonly #own: readonly (Buffer | undefined)[];

  constructor(socket: string, own: readonly (Buffer | undefined)[]) {
    super(socket);
    this.#own = own;
  }

  override getIdentities(callback: Parameters<ssh2.OpenSSHAgent['getIdentities']>[0]): void {
    super.getIdentities((error, keys) => {
      const own = keys?.filter((key) => {
        const parsed = ssh2.utils.parseKey(key as unknown as Buffer);
        const bytes = parsed instanceof Error ? undefined : parsed.getPublicSSH();
        return bytes !== undefined && this.#own.some((one) => one?.equals(bytes));
      });
      callback(error, own);
    });
  }
}
