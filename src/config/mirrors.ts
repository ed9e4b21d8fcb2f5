/** Where packages come from: the host's own Debian mirrors and proxies. */
import { run } from '../process/run.ts';

/** The archive and its security updates. */
export interface Mirrors {
  readonly archive: string;
  readonly security: string;
}

/** What Debian itself configures by default. */
const DEFAULT_MIRRORS: Mirrors = {
  archive: 'http://deb.debian.org/debian',
  security: 'http://deb.debian.org/debian-security',
};

/**
 * The mirrors of the host's apt configuration when the host is Debian, else Debian's default ones.
 *
 * @param override a mirror that the user named; the security archive is then still the host's or the default one
 */
export async function findMirrors(override: string | undefined, signal: AbortSignal): Promise<Mirrors> {
  const host = await hostMirrors(signal);
  return {
    archive: (override ?? host.archive ?? DEFAULT_MIRRORS.archive).replace(/\/+$/, ''),
    security: (host.security ?? DEFAULT_MIRRORS.security).replace(/\/+$/, ''),
  };
}

async function hostMirrors(signal: AbortSignal): Promise<Partial<Mirrors>> {
  const format = '$(RELEASE) $(COMPONENT) $(REPO_URI)';
  const listing = await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'], {
    okCodes: [0, 100],
    signal,
  }).catch(() => undefined);
  const found: { archive?: string; security?: string } = {};
  for (const line of listing?.stdout.split('\n') ?? []) {
    const [release = '', component = '', uri = ''] = line.split(' ');
    if (component !== 'main' || !/^https?:\/\//.test(uri)) continue;
    const path = uri.replace(/\/+$/, '');
    // The names of suites say what they are; other archives (of a vendor, say) end in other paths.
    if (/-security$|\/updates$/.test(release) && /debian-security$/.test(path)) found.security ??= path;
    else if (/^[a-z]+$/.test(release) && /\/debian$/.test(path)) found.archive ??= path;
  }
  return found;
}

/** Variables for programs that fetch over HTTP: this process' own, else what apt is configured to use. */
export async function proxyEnvironment(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
  const environment: Record<string, string> = {};
  for (const name of ['http_proxy', 'https_proxy', 'ftp_proxy', 'no_proxy']) {
    const value = process.env[name] ?? process.env[name.toUpperCase()];
    if (value !== undefined && value !== '') environment[name] = value;
  }
  const dump = await run('apt-config', ['dump', '--format', '%f %v%n'], { signal }).catch(() => undefined);
  for (const line of dump?.stdout.split('\n') ?? []) {
    const match = /^Acquire::(http|https)::Proxy (\S+)$/i.exec(line);
    if (match !== null && match[2] !== 'DIRECT')
      environment[`${(match[1] ?? '').toLowerCase()}_proxy`] ??= match[2] ?? '';
  }
  return environment;
}
