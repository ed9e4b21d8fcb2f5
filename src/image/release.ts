/** What a Debian mirror has right now: code name, date, and a digest of its package lists. */
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ApppotError } from '../errors.ts';
import { run } from '../process/run.ts';
import type { Mirrors } from '../config/mirrors.ts';

/** A release as the mirror has it. */
export interface Release {
  /** What the user asked for: an alias such as stable, or the code name. */
  readonly asked: string;
  readonly codename: string;
  /** Seconds since 1970: the date of the suite, which changes with point releases only. */
  readonly date: number;
  /** Lines of sources.list. */
  readonly sources: readonly string[];
  /** Digest of the package lists that the sources name. */
  readonly digest: string;
}

/** What {@link findRelease} needs. */
export interface ReleaseQuery {
  readonly asked: string;
  readonly mirrors: Mirrors;
  /** Lines of sources.list from the configuration; undefined: the suite with its updates and security updates. */
  readonly sources: readonly string[] | undefined;
  /** A private folder for downloads. */
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/**
 * Asks the mirror what a release is at this moment.
 *
 * @throws ApppotError `mirror` when the mirror does not answer or does not have the release
 * @see https://wiki.debian.org/DebianRepository/Format : fields of InRelease files
 */
export async function findRelease(query: ReleaseQuery): Promise<Release> {
  const main = await fetchInRelease(query, query.mirrors.archive, query.asked);
  if (main === undefined)
    throw new ApppotError('mirror', `${query.mirrors.archive} has no release "${query.asked}".`, {
      hint: 'Try stable, or a code name such as trixie or bookworm; --mirror names another mirror.',
    });
  const codename = field(main, 'Codename') ?? query.asked;
  const date = Math.floor(Date.parse(field(main, 'Date') ?? '') / 1000);
  if (!Number.isSafeInteger(date))
    throw new ApppotError('mirror', `${query.mirrors.archive} gave an InRelease file without a date.`);
  const digest = createHash('sha256').update(packageDigests(main));
  if (query.sources !== undefined) {
    for (const { uri, suite } of sourceSuites(query.sources)) {
      const text = await fetchInRelease(query, uri, suite);
      if (text === undefined) throw new ApppotError('mirror', `${uri} has no suite "${suite}".`);
      digest.update(packageDigests(text));
    }
    return {
      asked: query.asked,
      codename,
      date,
      sources: query.sources,
      digest: digest.update(query.sources.join('\n')).digest('hex'),
    };
  }
  const sources = [`deb ${query.mirrors.archive} ${codename} main`];
  for (const [uri, suite] of extraSuites(query.mirrors, codename)) {
    const text = await fetchInRelease(query, uri, suite);
    if (text === undefined) {
      query.note(`${uri} has no suite ${suite}: the image is built without it.`);
      continue;
    }
    sources.push(`deb ${uri} ${suite} main`);
    digest.update(packageDigests(text));
  }
  return {
    asked: query.asked,
    codename,
    date,
    sources,
    digest: digest.update(sources.join('\n')).digest('hex'),
  };
}

function extraSuites(mirrors: Mirrors, codename: string): readonly (readonly [string, string])[] {
  // unstable has neither.
  if (codename === 'sid') return [];
  return [
    [mirrors.archive, `${codename}-updates`],
    [mirrors.security, `${codename}-security`],
  ];
}

/** The suites of lines of sources.list: "deb [options] URI SUITE COMPONENT...". */
function sourceSuites(lines: readonly string[]): readonly { uri: string; suite: string }[] {
  return lines.flatMap((line) => {
    const match = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/.exec(line);
    return match === null ? [] : [{ uri: (match[1] ?? '').replace(/\/+$/, ''), suite: match[2] ?? '' }];
  });
}

/** The text of dists/SUITE/InRelease; undefined when the mirror answers that there is none. */
async function fetchInRelease(query: ReleaseQuery, uri: string, suite: string): Promise<string | undefined> {
  const url = `${uri}/dists/${suite}/InRelease`;
  const file = join(query.folder, 'InRelease');
  try {
    // apt's own downloader: the same transports, proxies and certificates as apt-get.
    await run(
      '/usr/lib/apt/apt-helper',
      ['-o', 'Acquire::Retries=2', '-o', 'APT::Sandbox::User=', 'download-file', url, file],
      { env: query.environment, signal: query.signal },
    );
    return await readFile(file, 'utf8');
  } catch (error) {
    if (!(error instanceof ApppotError) || error.code === 'interrupted') throw error;
    if (/\b404\b|File not found/i.test(error.message)) return undefined;
    if (error.code === 'missing-tool') throw error;
    const reason = /Failed to fetch \S+\s+(.*)/.exec(error.message)?.[1] ?? 'no answer';
    throw new ApppotError('mirror', `Cannot fetch ${url}: ${reason.trim()}.`, {
      cause: error,
      transient: true,
      hint: 'Check the network and the proxy settings (http_proxy), or name another mirror with --mirror.',
    });
  } finally {
    await rm(file, { force: true });
  }
}

function field(text: string, name: string): string | undefined {
  return new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(text)?.[1]?.trim();
}

/** The lines that hold digests of package lists: they change when a package does, unlike dates and signatures. */
function packageDigests(text: string): string {
  return text
    .split('\n')
    .filter((line) => /^ [0-9a-f]{64}\s+\d+\s+\S+\/binary-\S+\/Packages(\.xz)?$/.test(line))
    .join('\n');
}
