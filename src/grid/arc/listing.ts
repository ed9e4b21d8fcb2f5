/** What a session folder holds, from WebDAV's answer about it (RFC 4918). */
import { parseXml, XmlElement } from '@rgrove/parse-xml';
import { ApppotError } from '../../errors.ts';

export interface SessionEntry {
  readonly name: string;
  readonly isFolder: boolean;
  readonly size: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
  /** A link, which A-REX tells everything of that it leads to. */
  readonly isLink: boolean;
}

/**
 * Reads a multistatus of depth 1. The first response is the folder itself. A-REX follows links in it; its own list of
 * the folder leaves them out, and so tells them apart.
 *
 * @param own A-REX's own list of the same folder
 * @returns undefined when it is no folder
 * @throws ApppotError `transport` for what is no such answer, `target` for names that lead elsewhere
 */
export function parseListing(xml: string, own: string, host: string): readonly SessionEntry[] | undefined {
  const [itself, ...responses] = elements(rootOf(xml, host), 'response');
  if (itself === undefined)
    throw new ApppotError('transport', `${host} sends something else than a list of files.`);
  if (first(itself, 'collection') === undefined) return undefined;
  const plain = plainNames(own, host);
  return responses.filter(isThere).map((response) => entryOf(response, plain, host));
}

function rootOf(xml: string, host: string): XmlElement {
  try {
    const { root } = parseXml(xml);
    if (root !== null) return root;
  } catch (cause) {
    throw new ApppotError('transport', `${host} sends a list of files that cannot be read.`, { cause });
  }
  throw new ApppotError('transport', `${host} sends an empty list of files.`);
}

/** Names of files and folders that are no links. */
function plainNames(xml: string, host: string): ReadonlySet<string> {
  const root = rootOf(xml, host);
  if (root.name !== 'list')
    throw new ApppotError('transport', `${host} sends something else than a list of files.`);
  return new Set([...elements(root, 'file'), ...elements(root, 'dir')].map(({ text }) => text));
}

/** Pipes, sockets and links that lead nowhere have a status of their own, and no name. */
function isThere(response: XmlElement): boolean {
  return first(response, 'displayname') !== undefined || !/ 404 /.test(first(response, 'status')?.text ?? '');
}

function entryOf(response: XmlElement, plain: ReadonlySet<string>, host: string): SessionEntry {
  const name = first(response, 'displayname')?.text ?? '';
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
    throw new ApppotError('target', `${host} lists a file with the name ${JSON.stringify(name)}.`, {
      hint: 'A sound server does not do that: ask its administrator. Nothing was fetched under that name.',
    });
  const size = Number(first(response, 'getcontentlength')?.text ?? '0');
  const time = Date.parse(first(response, 'getlastmodified')?.text ?? '');
  if (!Number.isSafeInteger(size) || size < 0)
    throw new ApppotError('transport', `${host} tells no sound size of ${name}.`);
  return {
    name,
    isFolder: first(response, 'collection') !== undefined,
    size,
    mtime: Number.isNaN(time) ? 0 : Math.floor(time / 1000),
    isLink: !plain.has(name),
  };
}

/** Elements by their name without namespace prefix. */
function elements(parent: XmlElement, name: string): readonly XmlElement[] {
  return parent.children.filter(
    (child): child is XmlElement => child instanceof XmlElement && child.name.replace(/^.*:/, '') === name,
  );
}

/** The first element of this name below another one, however deep. */
function first(parent: XmlElement, name: string): XmlElement | undefined {
  for (const child of parent.children) {
    if (!(child instanceof XmlElement)) continue;
    if (child.name.replace(/^.*:/, '') === name) return child;
    const found = first(child, name);
    if (found !== undefined) return found;
  }
  return undefined;
}
