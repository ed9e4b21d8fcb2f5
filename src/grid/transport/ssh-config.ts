/** The user's ssh configuration, as far as our own client follows it. */
import { readdirSync, readFileSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { ApppotError } from '../../errors.ts';

/** What the configuration says about one host. */
export interface HostSettings {
  /** As it was asked for. */
  readonly host: string;
  readonly hostName: string;
  readonly port: number;
  readonly user: string;
  readonly identityFiles: readonly string[];
  readonly identitiesOnly: boolean;
  /** Socket of the agent; undefined when there is none, or it is not to be asked. */
  readonly agent: string | undefined;
  /** Hosts to go through, `[user@]host[:port]`, first one first. */
  readonly proxyJump: readonly string[];
  readonly knownHostsFiles: readonly string[];
  /** Name to look for among the known hosts. */
  readonly hostKeyAlias: string | undefined;
  /** What was found and is not followed: a proxy command, a kind of Match. */
  readonly ignored: readonly string[];
}

export interface HostRequest {
  readonly host: string;
  readonly user?: string | undefined;
  readonly port?: number | undefined;
  /** Files in the order of their rank; the user's and the system's by default. */
  readonly files?: readonly string[] | undefined;
}

/** Keywords of which all values count, not only the first one. */
const MANY = new Set(['identityfile']);
const DEFAULT_KEYS = ['id_ed25519', 'id_ecdsa', 'id_rsa'];

/**
 * Reads the ssh configuration for one host: Host, Match (all, host, originalhost, user, localuser) and Include,
 * the first value of a keyword counts.
 *
 * @throws ApppotError `config` for a value that makes no sense
 * @see ssh_config(5)
 */
export function readHostSettings(request: HostRequest): HostSettings {
  const state: State = {
    request,
    found: new Map(),
    ignored: new Set(),
  };
  if (request.user !== undefined) state.found.set('user', [request.user]);
  if (request.port !== undefined) state.found.set('port', [String(request.port)]);
  const files = request.files ?? [join(sshFolder(), 'config'), '/etc/ssh/ssh_config'];
  for (const file of files) readConfig(file, true, state, 0);
  const one = (key: string): string | undefined => state.found.get(key)?.[0];
  const user = one('user') ?? userInfo().username;
  const hostName = one('hostname')?.replaceAll('%h', request.host) ?? request.host.toLowerCase();
  const port = Number(one('port') ?? 22);
  if (!(Number.isInteger(port) && port > 0 && port < 65_536))
    throw new ApppotError('config', `ssh: port "${one('port') ?? ''}" of ${request.host} is no port.`);
  const expand = (path: string): string => expandPath(path, { hostName, user, port, host: request.host });
  const agent = expand(one('identityagent') ?? 'SSH_AUTH_SOCK').replace(/^\$\{?(\w+)\}?$/, '$1');
  if (one('proxycommand') !== undefined && one('proxyjump') === undefined) {
    if (one('proxycommand') !== 'none') state.ignored.add('ProxyCommand');
  }
  const jumps = one('proxyjump') ?? 'none';
  return {
    host: request.host,
    hostName,
    port,
    user,
    identityFiles: (state.found.get('identityfile') ?? DEFAULT_KEYS.map((key) => join(sshFolder(), key)))
      .filter((file) => file !== 'none')
      .map(expand),
    identitiesOnly: one('identitiesonly') === 'yes',
    agent: agent === 'none' ? undefined : agent === 'SSH_AUTH_SOCK' ? process.env['SSH_AUTH_SOCK'] : agent,
    proxyJump: jumps === 'none' ? [] : jumps.split(',').map((jump) => jump.replace(/^ssh:\/\//, '')),
    knownHostsFiles: [
      ...(state.found.get('userknownhostsfile') ?? ['~/.ssh/known_hosts', '~/.ssh/known_hosts2']),
      ...(state.found.get('globalknownhostsfile') ?? [
        '/etc/ssh/ssh_known_hosts',
        '/etc/ssh/ssh_known_hosts2',
      ]),
    ].map(expand),
    hostKeyAlias: one('hostkeyalias'),
    ignored: [...state.ignored],
  };
}

/** ssh takes the home folder of the account, whatever HOME says; a test has to be able to say. */
export function sshFolder(): string {
  return join(homedir(), '.ssh');
}

interface State {
  readonly request: HostRequest;
  readonly found: Map<string, readonly string[]>;
  readonly ignored: Set<string>;
}

function readConfig(file: string, outer: boolean, state: State, depth: number): void {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return; // as ssh does: a configuration that is not there, or not ours to read, says nothing
  }
  if (depth > 16) throw new ApppotError('config', `ssh: ${file} includes itself.`);
  let active = outer;
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*([A-Za-z]\w*)(?:\s*=\s*|\s+)(.*?)\s*$/.exec(line);
    if (match === null) continue;
    const keyword = (match[1] ?? '').toLowerCase();
    const words = splitWords(match[2] ?? '');
    if (keyword === 'host') active = outer && matchesList(words, state.request.host);
    else if (keyword === 'match') active = outer && matches(words, state);
    else if (!active) continue;
    else if (keyword === 'include')
      for (const pattern of words)
        for (const included of expandFiles(pattern, file)) readConfig(included, true, state, depth + 1);
    else if (MANY.has(keyword)) state.found.set(keyword, [...(state.found.get(keyword) ?? []), ...words]);
    else if (!state.found.has(keyword)) state.found.set(keyword, words);
  }
}

/** Words of a value; double quotes keep blanks. */
function splitWords(value: string): string[] {
  return [...value.matchAll(/"([^"]*)"|([^\s"]+)/g)]
    .map(([, quoted, bare]) => quoted ?? bare ?? '')
    .filter((word, at, all) => !all.slice(0, at + 1).some((one) => one.startsWith('#')) && word !== '');
}

function matches(words: readonly string[], state: State): boolean {
  const host = state.found.get('hostname')?.[0]?.replaceAll('%h', state.request.host) ?? state.request.host;
  const subjects: Readonly<Record<string, string>> = {
    host,
    originalhost: state.request.host,
    user: state.found.get('user')?.[0] ?? userInfo().username,
    localuser: userInfo().username,
  };
  for (let at = 0; at < words.length; at += 1) {
    const word = (words[at] ?? '').toLowerCase();
    const negated = word.startsWith('!');
    const criterion = negated ? word.slice(1) : word;
    if (criterion === 'all') continue;
    const subject = subjects[criterion];
    if (subject === undefined) {
      state.ignored.add(`Match ${criterion}`);
      return false;
    }
    at += 1;
    // Names of hosts have no case here; after "Host" they have.
    const list = words[at] ?? '';
    const isHost = criterion.endsWith('host');
    const fits = isHost
      ? matchesList(list.toLowerCase().split(','), subject.toLowerCase())
      : matchesList(list.split(','), subject);
    if (fits === negated) return false;
  }
  return true;
}

/** Whether a name is in a list of patterns; a negated one that fits rules it out. */
export function matchesList(patterns: readonly string[], name: string): boolean {
  let found = false;
  for (const pattern of patterns) {
    const negated = pattern.startsWith('!');
    if (!matchesPattern(negated ? pattern.slice(1) : pattern, name)) continue;
    if (negated) return false;
    found = true;
  }
  return found;
}

function matchesPattern(pattern: string, name: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's').test(name);
}

function expandFiles(pattern: string, file: string): string[] {
  const base = file.startsWith('/etc/ssh/') ? '/etc/ssh' : sshFolder();
  const tilde = pattern.replace(/^~(?=\/)/, homedir());
  const path = isAbsolute(tilde) ? tilde : join(base, tilde);
  if (!/[*?]/.test(path)) return [path];
  const folder = dirname(path);
  try {
    return readdirSync(folder)
      .map((name) => join(folder, name))
      .filter((name) => matchesPattern(path, name))
      .sort();
  } catch {
    return [];
  }
}

function expandPath(
  path: string,
  { hostName, user, port, host }: { hostName: string; user: string; port: number; host: string },
): string {
  const values: Readonly<Record<string, string>> = {
    '%': '%',
    d: homedir(),
    h: hostName,
    n: host,
    p: String(port),
    r: user,
    u: userInfo().username,
    i: String(userInfo().uid),
  };
  return path
    .replace(/^~(?=\/|$)/, homedir())
    .replace(/%(.)/g, (whole, letter: string) => values[letter] ?? whole);
}
