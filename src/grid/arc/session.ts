/** The session folder of a job on a computing element: its files, both ways. */
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ApppotError, systemCode } from '../../errors.ts';
import { isSafeName, PARTS } from '../../job/names.ts';
import type { GetOptions, RemoteFile } from '../transport/transport.ts';
import type { ArcClient } from './client.ts';

const MAX_FILES = 200_000;
const READ_LIMIT = 1 << 20;

/** One entry of a WebDAV answer (RFC 4918, 9.1), as far as A-REX fills it in. */
interface Entry {
  readonly href?: string;
  readonly propstat?: { readonly prop?: Readonly<Record<string, unknown>> };
}

/** Files of the sessions of one computing element; paths begin with the identifier of a job. */
export class ArcSessions {
  /** For people. */
  readonly name: string;
  readonly #client: ArcClient;

  constructor(name: string, client: ArcClient) {
    this.name = name;
    this.#client = client;
  }

  /**
   * Everything below a job's folder but AppPot's own parts; `undefined` when the site no longer has it. Names that would
   * lead out of a folder are left out: a server is not trusted with where files go.
   *
   * @param id identifier of the job
   */
  async list(id: string, signal: AbortSignal): Promise<readonly RemoteFile[] | undefined> {
    const found: RemoteFile[] = [];
    const folders = [''];
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      const entries = await this.#listFolder(id, folder, signal);
      if (entries === undefined && folder === '') return undefined;
      for (const entry of entries ?? []) {
        if (!isSafeName(entry.path) || entry.path === PARTS || entry.path.split('/').length > 64) continue;
        found.push(entry);
        if (entry.type === 'folder') folders.push(entry.path);
        if (found.length > MAX_FILES)
          throw new ApppotError(
            'target',
            `The job's folder at ${this.name} holds more than ${MAX_FILES} files.`,
            {
              hint: 'Fetch fewer: name the results with --stage-out.',
            },
          );
      }
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async #listFolder(
    id: string,
    folder: string,
    signal: AbortSignal,
  ): Promise<readonly RemoteFile[] | undefined> {
    const answer = await this.#client.send(
      'PROPFIND',
      ['jobs', id, 'session', folder].filter((part) => part !== ''),
      {
        signal,
        headers: { accept: 'text/xml', depth: '1' },
        okCodes: [404],
      },
    );
    if (answer.code === 404) {
      await answer.body.dump();
      return undefined;
    }
    const { multistatus } = await this.#client.xml(answer);
    const responses = (multistatus as { response?: Entry | readonly Entry[] } | undefined)?.response;
    const entries =
      responses === undefined
        ? []
        : Array.isArray(responses)
          ? (responses as readonly Entry[])
          : [responses as Entry];
    // The first one is the folder itself (RFC 4918 does not promise it; A-REX does so).
    return entries.slice(1).flatMap((entry) => {
      const prop = entry.propstat?.prop ?? {};
      const name = prop['displayname'];
      if (typeof name !== 'string') return [];
      const size = Number(prop['getcontentlength'] ?? 0);
      const isFolder = typeof prop['resourcetype'] === 'object';
      const mtime = Math.floor(Date.parse(String(prop['getlastmodified'])) / 1000);
      return [
        {
          // A name with a slash is refused with the others that lead elsewhere.
          path: name.includes('/') ? '..' : folder === '' ? name : `${folder}/${name}`,
          size: Number.isSafeInteger(size) && size >= 0 ? size : 0,
          type: isFolder ? ('folder' as const) : ('file' as const),
          mtime: Number.isFinite(mtime) ? mtime : 0,
        },
      ];
    });
  }

  /**
   * Fetches `ID/PATH`, going on where an earlier attempt stopped; the name appears when the file is whole.
   *
   * @throws ApppotError `not-found`, `transport` for a connection that broke, `target` for a body that is not as announced
   */
  async get(path: string, target: string, options: GetOptions): Promise<void> {
    const part = `${target}.apppot-part`;
    const [id = '', ...rest] = path.split('/');
    const from = await stat(part).then(
      ({ size }) => size,
      () => 0,
    );
    const answer = await this.#client.send('GET', ['jobs', id, 'session', ...rest], {
      signal: options.signal,
      headers: { accept: '*/*', ...(from === 0 ? {} : { range: `bytes=${from}-` }) },
      okCodes: [416],
    });
    const { start, total } = announced(answer.code, answer.headers);
    if (answer.code === 416 || (start !== 0 && start !== from)) {
      // The part is of another file.
      await answer.body.dump().catch(() => undefined);
      await rm(part, { force: true });
      if (from === 0) throw new ApppotError('target', `${this.name} does not send ${path}.`);
      await this.get(path, target, options);
      return;
    }
    let received = start;
    const count = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        received += chunk.length;
        options.onBytes?.(received);
        if (total !== undefined && received > total)
          done(new ApppotError('target', `${this.name} sends more of ${path} than it announced.`));
        else done(null, chunk);
      },
    });
    const file = createWriteStream(part, { flags: start === 0 ? 'w' : 'a', mode: 0o600, flush: true });
    try {
      await pipeline(answer.body as Readable, count, file, { signal: options.signal });
    } catch (error) {
      if (error instanceof ApppotError || options.signal.aborted) throw error;
      if (systemCode(error) === 'ENOSPC')
        throw new ApppotError('no-space', `There is no room for ${target}.`, { cause: error });
      throw this.#broken(path, error);
    }
    if (total !== undefined && received !== total) throw this.#broken(path);
    await rename(part, target);
  }

  #broken(path: string, cause?: unknown): ApppotError {
    return new ApppotError('transport', `The connection to ${this.name} broke while ${path} was under way.`, {
      cause,
      transient: true,
      hint: 'Try again: what has arrived is kept.',
    });
  }

  /** A part of a file that may still grow; `undefined` when it is not there. */
  async read(id: string, path: string, offset: number, signal: AbortSignal): Promise<Buffer | undefined> {
    const answer = await this.#client.send('GET', ['jobs', id, 'session', path], {
      signal,
      headers: { accept: '*/*', range: `bytes=${offset}-${offset + READ_LIMIT - 1}` },
      okCodes: [404, 416],
    });
    if (answer.code === 404 || answer.code === 416) {
      await answer.body.dump().catch(() => undefined);
      return answer.code === 404 ? undefined : Buffer.alloc(0);
    }
    const { start } = announced(answer.code, answer.headers);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= offset - start + READ_LIMIT) break;
    }
    return Buffer.concat(chunks).subarray(offset - start, offset - start + READ_LIMIT);
  }

  /** Sends a file or bytes as an input of a job. */
  async put(
    id: string,
    name: string,
    source: string | Uint8Array,
    options: { readonly signal: AbortSignal; readonly onBytes?: (sent: number) => void },
  ): Promise<void> {
    const size = typeof source === 'string' ? (await stat(source)).size : source.length;
    const body = typeof source === 'string' ? counted(createReadStream(source), options.onBytes) : source;
    const answer = await this.#client.send('PUT', ['jobs', id, 'session', name], {
      signal: options.signal,
      headers: { 'content-length': String(size), 'content-type': 'application/octet-stream' },
      body,
    });
    await answer.body.dump();
    const there = await this.#client.send('HEAD', ['jobs', id, 'session', name], {
      signal: options.signal,
      headers: { accept: '*/*' },
      okCodes: [404, 405, 501],
    });
    const length = there.headers['content-length'];
    if (there.code === 200 && typeof length === 'string' && Number(length) !== size)
      throw new ApppotError('transport', `${this.name} got ${length} of ${size} bytes of ${name}.`, {
        transient: true,
      });
  }
}

/** Passes a stream on, telling how much has gone. */
async function* counted(stream: Readable, onBytes?: (sent: number) => void): AsyncGenerator<Buffer> {
  let sent = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    yield chunk;
    onBytes?.((sent += chunk.length));
  }
}

/** Where a body starts in its file, and how long the file is (RFC 9110, 14.4). */
function announced(
  code: number,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): { start: number; total: number | undefined } {
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(String(headers['content-range'] ?? ''));
  if (code === 206 && range !== null) return { start: Number(range[1]), total: Number(range[2]) };
  const length = headers['content-length'];
  return { start: 0, total: typeof length === 'string' ? Number(length) : undefined };
}
